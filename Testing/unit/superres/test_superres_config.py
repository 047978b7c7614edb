"""Settings of super-resolution training that cannot be, and the files that hold good ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.config_command_line import load_config
from NeuroGenLib.models import resolve
from NeuroGenLib.superres.config import (
    ImagesConfig,
    MapsConfig,
    NetworkConfig,
    ScansConfig,
    SlicesConfig,
    SplitConfig,
    SuperresTrainConfig,
)
from NeuroGenLib.superres.run_config import BUNDLED
from NeuroGenLib.training.settings import TrainerConfig
from Testing.raising import raises

CONFIGS = sorted((Path(__file__).parents[3] / "training" / "configs" / "superres").glob("*.yaml"))
RUN = TrainerConfig(out=Path("run"), steps=1)
MAPS = MapsConfig(source=Path("maps"))
PUBLISHED = NetworkConfig(kind="published", features=(2, 4), residual_units=1)


def test_there_are_configs() -> None:
    assert {path.stem for path in CONFIGS} >= {"bundled", "table_example", "published"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_usable_and_has_no_unknown_key(path: Path) -> None:
    config = load_config(SuperresTrainConfig, path, {"train.out": "elsewhere"})
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert to_mapping(config)["name"] == given["name"]
    assert config.train.out == Path("elsewhere")


def test_the_published_config_is_the_published_recipe() -> None:
    (path,) = (path for path in CONFIGS if path.stem == "published")
    config = load_config(SuperresTrainConfig, path)
    assert config.network.features == (32, 64, 128, 256, 512, 1024)
    assert (config.network.residual_units, config.published.patch, config.published.stride) == (10, 32, 16)
    settings = config.optimiser
    assert (settings.kind, settings.loss, settings.rate, settings.batch) == ("adam", "mse", 1e-4, 32)
    assert (settings.schedule, settings.clip) == ("constant", None)
    assert config.split.kind == "order"


def test_the_bundled_settings_are_those_of_the_bundled_weights() -> None:
    (path,) = (path for path in CONFIGS if path.stem == "bundled")
    config, manifest = load_config(SuperresTrainConfig, path), resolve(BUNDLED).manifest
    written = manifest["training"]["config"]
    assert list(config.network.features) == manifest["network"]["features"]
    assert list(config.slices.thickness) == manifest["preparation"]["thickness"]
    assert config.window == manifest["preparation"]["window"]
    assert config.train.steps == manifest["training"]["steps"]
    for section in ("slices", "images", "optimiser"):
        own = to_mapping(getattr(config, section))
        assert {name: own[name] for name in written[section]} == own, section
        assert json.loads(json.dumps(own)) == written[section]
    assert config.notice == manifest["notice"]


def test_the_bundled_config_leaves_out_what_the_card_measures() -> None:
    (path,) = (path for path in CONFIGS if path.stem == "bundled")
    config = load_config(SuperresTrainConfig, path)
    assert {"sub-sba24", "sub-sba30op", "sub-sba32op"} == set(config.split.validation)
    assert config.scans.include == ("sub-sba*",)
    assert config.validation.keep == "last"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: SuperresTrainConfig(train=RUN), ("value-missing", "scans.source", "maps.source")),
        (lambda: SuperresTrainConfig(train=RUN, maps=MAPS, window=20), ("value-conflict", 20, 8)),
        (
            lambda: SuperresTrainConfig(train=RUN, scans=ScansConfig(source=Path("t"), low="LR")),
            ("value-conflict", "scans.low"),
        ),
        (lambda: SuperresTrainConfig(train=RUN, maps=MAPS, network=PUBLISHED), ("value-missing", "scans.source")),
        (
            lambda: SuperresTrainConfig(train=RUN, scans=ScansConfig(source=Path("t")), network=PUBLISHED),
            ("value-missing", "scans.guide"),
        ),
        (
            lambda: SuperresTrainConfig(
                train=RUN, scans=ScansConfig(source=Path("t"), guide="T1w", low="LR"), maps=MAPS, network=PUBLISHED
            ),
            ("value-conflict", "maps.source"),
        ),
        (lambda: NetworkConfig(features=(8,)), ("value-invalid", "network.features", "(8,)")),
        (lambda: SplitConfig(fractions=(0.5, 0.1, 0.1)), ("value-invalid", "(0.5, 0.1, 0.1)")),
        (lambda: SplitConfig(fractions=(1.0, 0.0, 0.0)), ("value-invalid", "(1.0, 0.0, 0.0)")),
        (lambda: SplitConfig(kind="named"), ("value-conflict", "split.validation", "0 ids")),
        (lambda: SplitConfig(validation=("sub-1",)), ("value-conflict", "split.validation", "1 ids")),
        (lambda: SlicesConfig(thickness=(5, 2)), ("value-invalid", "thickness", 5, 2)),
        (lambda: ImagesConfig(bias=(0.2, 0.1)), ("value-invalid", "bias", 0.2, 0.1)),
    ],
)
def test_impossible_settings_are_refused(make, error):
    with raises(*error):
        make()
