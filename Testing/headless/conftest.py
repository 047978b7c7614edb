"""The examples of the pages of docs, run once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from Testing.kept import kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from Testing.headless.example_pages import ExamplePage

SOURCES = (
    "NeuroGenLib",
    "Resources",
    "Testing/headless/example_pages.py",
    "Testing/headless/test_documents.py",
    "Testing/headless/test_tutorial.py",
)


@pytest.fixture(scope="session")
def example(pytestconfig: pytest.Config) -> Callable[[ExamplePage], Path]:
    """The folder of a page after all commands of its example; to be read only."""
    return lambda page: kept(pytestconfig, f"page-{page.name}", [*SOURCES, f"docs/{page.name}.md"], page.run)
