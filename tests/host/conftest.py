"""For tests of which files are trusted: new files have the modes that these tests name."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def others_write_no_new_file() -> Iterator[None]:
    """Set the umask 022: the user who runs the tests may have another, such as 002."""
    before = os.umask(0o022)
    yield
    os.umask(before)
