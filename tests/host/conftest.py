"""Sets the umask, because tests of trust name the modes of new files, and opens a data root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.data_root import DataRoot, open_data_root


@pytest.fixture(autouse=True)
def others_write_no_new_file() -> Iterator[None]:
    """Set the umask 022: the user who runs the tests may have another, such as 002."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[DataRoot]:
    """Yield a new data root with an open store."""
    with open_data_root(tmp_path / "data") as found:
        yield found
