"""Fixtures for all tests."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from Testing.geometry import Phantom

REPOSITORY = Path(__file__).resolve().parents[1]
if str(REPOSITORY) not in sys.path:  # plain `pytest` does not add it, `python -m pytest` does
    sys.path.append(str(REPOSITORY))

from Testing.atlas_fixtures import atlas, atlas_cohort, atlas_run, kept_atlas, one_thread  # noqa: E402, F401 (fixtures)
from Testing.case_time import pytest_runtest_call  # noqa: E402, F401 (hook)

if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores Ctrl-C in what it starts in the background, and children inherit that; some tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "neurogen",
    deadline=None,
    max_examples=25,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("neurogen")


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """A small asymmetric head at 2 mm: image and labels."""
    from Testing.geometry import a_brain_phantom

    return a_brain_phantom()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real volumes beside the repository; the test is skipped where they are not."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real volumes beside this checkout")
    return folder
