"""README.md and the manual pages: each code block is run by a test, or says why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness.documents import BLOCKS, README, Block

# Language of a block -> the test that runs it.
RUN_BY = {
    "pycon": "tests/client/test_examples.py",
    "json": "tests/test_documents.py",
    "ini": "tests/e2e/test_documents.py",
    "sh": "tests/e2e/test_documents.py",
    "console": "tests/e2e/test_documents.py",
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_each_code_block_is_run_or_says_why_not(block: Block) -> None:
    assert block.not_run or block.language in RUN_BY


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=str)
def test_each_configuration_that_is_shown_is_valid(tmp_path: Path, block: Block) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(block.text)
    command = [sys.executable, "-m", "runtimed", "--validate", "--config", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_front_page_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 200
