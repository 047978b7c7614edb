"""Pages of docs are true: their example runs as it stands, their lists and pictures are what it makes.

``NEUROGEN_UPDATE_PICTURES=1`` rewrites the pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from Testing.headless.example_pages import MARKS, PAGES, ExamplePage
from Testing.headless.test_tutorial import MOST_BYTES, UPDATING, difference, prepared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [*MARKS, pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)]


def test_the_files_that_the_page_lists_are_written(page: ExamplePage, example: Callable[[ExamplePage], Path]) -> None:
    written = {path.name for path in (example(page) / page.result).iterdir()}
    assert written <= page.listed
    assert page.listed - page.optional <= written


def test_the_picture_is_what_the_example_draws(page: ExamplePage, example: Callable[[ExamplePage], Path]) -> None:
    made = prepared(example(page) / page.result / page.drawn)
    if UPDATING:
        made.quantize(256, Image.Quantize.MAXCOVERAGE).save(page.picture, optimize=True)  # keeps rare colours
    stored = prepared(page.picture)
    assert stored.size == made.size
    assert difference(stored, made) < difference(stored, Image.new("RGB", stored.size, "white")) / 8
    assert page.picture.stat().st_size <= MOST_BYTES
