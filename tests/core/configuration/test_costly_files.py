"""Tests that a file of 16 MiB is accepted or refused within limits of time and memory, whatever its content."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "harness" / "costly_files.py"
# The worst of the program's cases in time or in memory; all of them are within the bounds.
WORST = (
    "empty runtimes",
    "objects in objects",
    "escapes",
    "engines",
    "a long name with problems",
    "half surrogate pairs",
)
# Processor time of a parse that is linear: the worst takes 3 s on an idle machine and 12 s beside other work. One that
# is quadratic in any part of the file takes many minutes.
MOST_S = 60.0
MOST_BYTES = 400 * 1024 * 1024


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", WORST)
def test_a_file_of_16_mib_is_parsed_in_seconds_and_400_mb(case: str) -> None:
    run = subprocess.run([sys.executable, str(PROGRAM), case], capture_output=True, text=True, check=True)
    cost = json.loads(run.stdout)
    assert cost["took_s"] < MOST_S
    assert cost["peak_bytes"] < MOST_BYTES


@pytest.mark.timeout(120)
def test_a_thousand_problems_are_kept_and_all_are_counted() -> None:
    run = subprocess.run([sys.executable, str(PROGRAM), "wrong arguments"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["problems"] == 249_991
