"""runtimed/README.md names modules and functions that exist."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

import runtimed

PACKAGE = Path(runtimed.__file__).parent
TEXT = (PACKAGE / "README.md").read_text()
ROOMS = "daemon|cli|inspection|reload|api|client|host|core"
NAMES = sorted(set(re.findall(rf"`((?:{ROOMS})(?:\.\w+)+)`", TEXT)))
PATHS = sorted(set(re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", TEXT)))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_a_module_or_defined_in_one(name: str) -> None:
    pkgutil.resolve_name(f"runtimed.{name}")


@pytest.mark.parametrize("path", PATHS)
def test_each_path_exists(path: str) -> None:
    assert any((root / path).exists() for root in (PACKAGE, PACKAGE / "core", PACKAGE.parent))


def test_the_document_is_short_and_names_its_subjects() -> None:
    assert len(TEXT.splitlines()) <= 250
    assert len(NAMES) > 25
    assert len(PATHS) > 15
