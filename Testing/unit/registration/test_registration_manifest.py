"""What ``neurogen.json`` says of a registration network."""

from __future__ import annotations

import pytest

from NeuroGenLib.models import resolve
from NeuroGenLib.registration.manifest import RegistrationManifest
from Testing.raising import raises


def content(section, **changes):
    manifest = resolve("bundled:registration").manifest
    return manifest | {section: manifest[section] | changes}


@pytest.mark.parametrize(
    ("section", "changes", "error"),
    [
        ("preparation", {"grid": [64, 80]}, ("value-invalid", "grid", "[64, 80]")),
        ("preparation", {"grid": [64, 80, 0]}, ("value-invalid", "grid", "0")),
        ("preparation", {"normalisation": "zscore"}, ("value-invalid", "normalisation", "zscore")),
        ("preparation", {"orientation": "RAX"}, ("value-invalid", "orientation", "RAX")),
        ("preparation", {"fill": None}, ("value-missing", "fill", "spacing")),
        ("network", {"features": "many"}, ("value-invalid", "features", "many")),
        ("network", {"factor": [2, 0, 2]}, ("value-invalid", "factor", "0")),
    ],
)
def test_a_value_that_does_not_fit_is_named(section, changes, error):
    with raises(*error):
        RegistrationManifest.read(content(section, **changes))


def test_older_folders_without_optional_entries_open():
    manifest = content("preparation") | {"preparation": {"grid": [64, 80, 64], "fill": 0.84}}
    preparation = RegistrationManifest.read(manifest).preparation
    assert (preparation.orientation, preparation.normalisation, preparation.masked) == ("RAS", "percentile", False)


@pytest.mark.parametrize("normalisation", ["percentile", "minmax", "none"])
def test_every_normalisation_of_a_training_can_be_opened(normalisation):
    preparation = RegistrationManifest.read(content("preparation", normalisation=normalisation)).preparation
    assert preparation.normalisation == normalisation
