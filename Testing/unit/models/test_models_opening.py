"""`open_model`: the type it returns, and what a model says of itself in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from NeuroGenLib.models import open_model

SNIPPET = """
from typing import assert_type
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.models import Model, open_model

assert_type(open_model("bundled:fetal-sba"), Model)
assert_type(open_model("bundled:fetal-sba", AtlasModel, device="cpu"), AtlasModel)
open_model("bundled:fetal-sba").generate(30)
"""


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("fetal-sba", ("AtlasModel(", "T2w", "9 labels", "scan_age 21 to 34 weeks", "lv_volume_normed 0.1 to 0.23")),
        ("brain-mask", ("MaskModel(", "4 mm")),
        ("registration", ("RegistrationModel(", "64 x 80 x 64 voxels")),
        ("superres", ("SuperresModel(", "0.8 to 1 mm", "guide optional")),
    ],
)
def test_a_model_says_in_a_line_what_it_is(name: str, traits: tuple[str, ...]) -> None:
    text = repr(open_model(f"bundled:{name}", device="cpu"))
    assert f"bundled:{name} on cpu" in text
    assert "\n" not in text
    for trait in traits:
        assert trait in text


@pytest.mark.slow
def test_the_type_of_an_opened_model_is_known(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    (tmp_path / "snippet.py").write_text(SNIPPET, encoding="utf-8")
    root = Path(__file__).parents[3]
    out, _, _ = api.run(["--config-file", str(root / "pyproject.toml"), str(tmp_path / "snippet.py")])
    errors = [line for line in out.splitlines() if "snippet.py" in line]
    assert len(errors) == 1, out
    assert "generate" in errors[0]
