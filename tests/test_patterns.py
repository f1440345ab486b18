"""Regular expressions that every supported Python matches in the same way."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import runtimed

HOUSE = Path(runtimed.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))
# Python 3.11.2, which Debian 12 has, matches some of these wrongly.
FORBIDDEN = ("POSSESSIVE_REPEAT", "ATOMIC_GROUP")


def patterns_of(path: Path) -> Iterator[str | bytes]:
    """Yield the compiled patterns of a module, and every literal text in it that may be one."""
    name = ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")
    yield from (
        value.pattern for value in vars(importlib.import_module(name)).values() if isinstance(value, re.Pattern)
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield node.value


def operations(pattern: str | bytes) -> str:
    """Return the operations that ``pattern`` is compiled to, as text; empty where it is no pattern."""
    try:
        return str(re._parser.parse(pattern))  # type: ignore[attr-defined]  # the one place that tells them apart
    except re.error:
        return ""


@pytest.mark.parametrize("path", [p for p in MODULES if "import re\n" in p.read_text()], ids=lambda p: p.stem)
def test_no_module_uses_possessive_quantifiers_or_atomic_groups(path: Path) -> None:
    for pattern in patterns_of(path):
        assert not any(word in operations(pattern) for word in FORBIDDEN), pattern


@pytest.mark.parametrize("pattern", ["a++", "a*+", "a?+", "a{1,2}+", "(?>a)", rb"(?:\.[0-9]++)?"])
def test_possessive_quantifiers_and_atomic_groups_are_recognised(pattern: str | bytes) -> None:
    assert any(word in operations(pattern) for word in FORBIDDEN)
