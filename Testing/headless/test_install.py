"""The wheel and the layout of a Slicer extension, away from the checkout; drawing without what training needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from Testing.hostile.workspace import Workspace, kept_workspace
from Testing.slicer_desktop import missing_parts

ROOT = Path(__file__).resolve().parents[2]
RELEASED_WITH = ("README.md", "LICENSE.txt", "CHANGELOG.md", "pyproject.toml")
RESOURCES = (
    "labels/fetal-tissues.tsv",
    "samples.yaml",
    "requirements.txt",
    "models/fetal-sba/neurogen.json",
    "models/fetal-sba/model.safetensors",
)

TRAINING_ONLY = ("lightning", "pytorch_lightning", "pandas", "matplotlib", "h5py", "tensorboard")
NOT_FOR_DRAWING = ("nibabel", "huggingface_hub", "yaml", "skimage", "monai")

WITHOUT_LIBRARIES = """
import importlib, sys

class Without:
    def __init__(self, finders, names):
        self.finders, self.names = finders, names
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            return None
        specs = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in specs if spec is not None), None)
    def find_distributions(self, *context):
        found = [one.find_distributions(*context) for one in self.finders if hasattr(one, "find_distributions")]
        return [each for some in found for each in some]

blocked, reference, *rooms = sys.argv[1:]
sys.meta_path[:] = [Without(list(sys.meta_path), blocked.split(","))]
for room in rooms:
    importlib.import_module(room)
import numpy
from NeuroGenLib import open_model
from NeuroGenLib.models import bundled_models
opened = {type(open_model(f"bundled:{name}", device="cpu")).__module__ for name in bundled_models()}
assert opened == set(rooms), opened
atlas = open_model(reference, device="cpu")
brain = atlas.generate(28, {"lv_volume_normed": 0.12, "sex": "F"}, 8.0)
assert brain.image.array.shape == brain.labels.array.shape
assert abs(brain.probabilities.array.sum(0) - 1).max() < 1e-4
assert set(atlas.slices((0, 0, 0), 28, {"lv_volume_normed": 0.12})) == {"sagittal", "coronal", "axial"}
assert numpy.isfinite(atlas.reconstruct(0, 8.0).image.array).all()
from NeuroGenLib.atlas.config import FitConfig
scan = brain.image.with_array(brain.image.array * (brain.labels.array > 0))
fit = atlas.fit(scan, mask=brain.labels, settings=FitConfig(steps=2, points=200))
assert fit.labels.shape == scan.shape
assert numpy.isfinite(atlas.growth(28, {"lv_volume_normed": 0.12}, 8.0).images["T2w"].array).all()
print("drawn without", len(blocked.split(",")), [name for name in blocked.split(",") if name in sys.modules])
"""

LIGHT = """
import sys
import NeuroGenLib
from NeuroGenLib.core.errors import InputError
heavy = {"torch", "nibabel", "SimpleITK", "scipy", "pandas", "lightning", "matplotlib", "monai"}
print(sorted(heavy & set(sys.modules)))
"""


def python(*arguments: object, folder: Path, executable: object = sys.executable, path: object = "", **more: str):
    """Run Python in ``folder`` with nothing but ``path`` added to the import path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
    settings = environment | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"} | more
    command = [str(executable), *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, encoding="utf-8", timeout=240, check=False
    )


def inference_modules() -> list[str]:
    """The modules that a user's code imports, one for each capability."""
    found = [path.parent.name for path in sorted((ROOT / "NeuroGenLib").glob("*/infer.py"))]
    assert {"atlas", "mask", "registration", "superres"} <= set(found)
    return [f"NeuroGenLib.{name}.infer" for name in found]


def without_caches(_: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


@pytest.fixture(scope="module")
def atlas(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tiny trained atlas."""
    return kept_workspace(pytestconfig).copied(tmp_path_factory.mktemp("atlas") / "inputs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what a release holds, so that nothing is written into the checkout."""
    source = tmp_path_factory.mktemp("source") / "neurogen"
    source.mkdir()
    for name in ("NeuroGenLib", "Resources"):
        shutil.copytree(ROOT / name, source / name, ignore=without_caches)
    for name in RELEASED_WITH:
        shutil.copyfile(ROOT / name, source / name)
    for stray in ("Testing/test_x.py", "runs/model.ckpt"):
        (source / stray).parent.mkdir()
        (source / stray).write_text("not for users", encoding="utf-8")
    out = source.parent / "dist"
    done = python("-m", "build", "--wheel", "--no-isolation", "--outdir", out, source, folder=source)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that has the wheel, and the libraries of this environment behind it."""
    folder = tmp_path_factory.mktemp("environment") / "with spaces"
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scheme = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    packages = Path(scheme)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    scripts = Path(sysconfig.get_path("scripts", "venv", {"base": str(folder), "platbase": str(folder)}))
    return scripts / ("python.exe" if os.name == "nt" else "python")


def test_the_wheel_holds_the_library_and_its_resources_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "neurogen = NeuroGenLib.cli:main" in archive.read(entry_points).decode()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"NeuroGenLib"}
    for path in (ROOT / "NeuroGenLib").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT).as_posix() in names
    for name in RESOURCES:
        assert f"NeuroGenLib/Resources/{name}" in names
    assert any(name.endswith("LICENSE.txt") for name in names)
    assert sum("Resources/labels/fetal-tissues.tsv" in name for name in names) == 1
    assert not [name for name in names if "test" in name.lower() or "__pycache__" in name]


@pytest.mark.slow
def test_the_wheel_runs_far_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = python(
        "-c",
        "from NeuroGenLib.core.resources import resource; import NeuroGenLib as n, sys; "
        "print(n.__file__); print(resource('labels/fetal-tissues.tsv')); print(sys.path)",
        folder=tmp_path,
        executable=installed,
    )
    assert where.returncode == 0, where.stderr
    package, table, path = where.stdout.splitlines()
    assert Path(package).is_relative_to(installed.parents[1])
    assert Path(table).is_relative_to(installed.parents[1])
    assert repr(str(ROOT)) not in path
    info = python("-m", "NeuroGenLib.cli", "atlas", "info", folder=tmp_path, executable=installed, NEUROGEN_OFFLINE="1")
    assert info.returncode == 0, info.stderr
    assert "scan_age, 21 to 34 weeks" in info.stdout
    line = ("atlas", "generate", "--age", "28", "--spacing", "8", "--out", "brain")
    drawn = python("-m", "NeuroGenLib.cli", *line, folder=tmp_path, executable=installed, NEUROGEN_OFFLINE="1")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "brain" / "labels.nii.gz").is_file()
    assert list(tmp_path.iterdir()) == [tmp_path / "brain"]


def test_the_layout_of_a_slicer_extension_finds_its_resources(tmp_path: Path) -> None:
    modules = tmp_path / "NeuroGen" / "lib" / "Slicer-5.8" / "qt-scripted-modules"
    shutil.copytree(ROOT / "NeuroGenLib", modules / "NeuroGenLib", ignore=without_caches)
    shutil.copytree(ROOT / "Resources", modules / "NeuroGenLib" / "Resources")
    shutil.copytree(ROOT / "Resources" / "labels", modules / "Resources" / "Icons")  # another extension's
    code = (
        "from NeuroGenLib.core.resources import resource, resources_folder;"
        "from NeuroGenLib.models import bundled_models;"
        "print(resources_folder()); print(resource('models/fetal-sba/README.md').is_file()); print(bundled_models())"
    )
    done = python("-c", code, folder=tmp_path, path=modules)
    assert done.returncode == 0, done.stderr
    folder, found, models = done.stdout.splitlines()
    assert Path(folder) == modules / "NeuroGenLib" / "Resources"
    assert found == "True"
    assert "fetal-sba" in models


@pytest.mark.slow
def test_drawing_needs_nothing_of_training_or_of_files(atlas: Workspace, tmp_path: Path) -> None:
    rooms = inference_modules()
    blocked = ",".join((*TRAINING_ONLY, *NOT_FOR_DRAWING))
    done = python("-c", WITHOUT_LIBRARIES, blocked, atlas.model, *rooms, folder=tmp_path, path=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"drawn without {len(blocked.split(','))} []\n"


def test_every_infer_imports_without_what_training_needs(tmp_path: Path) -> None:
    rooms = inference_modules()
    code = WITHOUT_LIBRARIES.partition("import numpy")[0] + "print([name for name in rooms if name in sys.modules])"
    done = python("-c", code, ",".join((*TRAINING_ONLY, "monai")), "", *rooms, folder=tmp_path, path=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{rooms}\n"


def test_importing_the_package_is_quick(tmp_path: Path) -> None:
    done = python("-c", LIGHT, folder=tmp_path, path=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("missing", "package", "words"), [("yaml", "PyYAML", "models list")])
def test_a_missing_library_is_named_with_the_way_to_get_it(
    missing: str, package: str, words: str, tmp_path: Path
) -> None:
    code = WITHOUT_LIBRARIES.partition("blocked, reference")[0] + (
        "sys.meta_path[:] = [Without(list(sys.meta_path), [sys.argv[1]])]\n"
        "from NeuroGenLib import cli\n"
        f"sys.exit(cli.main({words.split()}))"
    )
    done = python("-c", code, missing, folder=tmp_path, path=ROOT)
    assert done.returncode == 1
    assert f"'{missing}'" in done.stderr
    assert f"pip install {package}" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_changes_land_no_panel_is_skipped() -> None:
    """Elsewhere the tests of scenes and panels are skipped with a reason; CI must have what they need."""
    assert not (os.environ.get("CI") and missing_parts())
