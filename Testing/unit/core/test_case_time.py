"""The limit of the quick tier fails what is slow and not marked, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

CASES = """
import subprocess, sys, time
import pytest

BURN = "import time\\nwhile time.process_time() < 0.2: pass"

def test_burns():
    exec(BURN.replace("0.2", str(time.process_time() + 0.2)))

def test_burns_in_a_child():
    subprocess.run([sys.executable, "-c", BURN], check=True)

@pytest.mark.slow
def test_burns_and_is_marked():
    exec(BURN.replace("0.2", str(time.process_time() + 0.2)))

def test_waits():
    time.sleep(0.3)

def test_fails_for_its_own_reason():
    exec(BURN.replace("0.2", str(time.process_time() + 0.2)))
    assert False, "its own reason"
"""


def outcome(folder: Path, limit: str) -> tuple[set[str], str]:
    """Run the cases with a limit; return the names of those that failed, and what was printed."""
    (folder / "test_cases.py").write_text(CASES, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "Testing.case_time", "-p", "no:cacheprovider", "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NEUROGEN_CASE_SECONDS": limit}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout
    return {line.split("::")[1].split(" ")[0] for line in said.splitlines() if line.startswith("FAILED")}, said


def test_a_case_over_the_limit_fails_unless_it_is_marked(tmp_path: Path) -> None:
    failed, said = outcome(tmp_path, "0.06")
    assert failed == {"test_burns", "test_burns_in_a_child", "test_fails_for_its_own_reason"}
    assert "pytest.mark.slow" in said
    assert "its own reason" in said


def test_the_limit_can_be_switched_off(tmp_path: Path) -> None:
    assert outcome(tmp_path, "0")[0] == {"test_fails_for_its_own_reason"}
