"""What ``published.yaml`` says, compared with what the hub holds; nothing large is fetched."""

from __future__ import annotations

import pytest

from NeuroGenLib.models.hub import list_repository
from NeuroGenLib.models.published import Published, published_models
from NeuroGenLib.models.reference import HubReference

LISTED = [entry for entry in published_models() if entry.reference]

pytestmark = pytest.mark.online


@pytest.fixture(params=LISTED, ids=[str(entry.reference) for entry in LISTED])
def entry(request: pytest.FixtureRequest) -> Published:
    return request.param


def test_listed_files_are_on_the_hub(entry: Published) -> None:
    reference = HubReference.parse(str(entry.reference))
    listing = list_repository(reference.at(entry.revision) if entry.revision else reference)
    on_hub = {file.name: file for file in listing.files}
    assert {file["name"] for file in entry.files} <= set(on_hub)
    for file in entry.files:
        print(file["name"], on_hub[file["name"]])
        for fact in ("size", "sha256"):
            assert file.get(fact) in (None, getattr(on_hub[file["name"]], fact))
