"""Reads a TOML configuration of another engine, with the dotted key as the place of each remark and problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtimed.core.configuration.position import Location
from runtimed.core.engines.engine import Original
from runtimed.core.engines.syntax import dotted, parse_toml
from runtimed.core.engines.translation import Reader
from runtimed.core.message_text import shown


class TomlReader(Reader):
    """A reader of a TOML document; the methods take the keys that lead to a value.

    Raises:
        ConfigurationRejected: the document is not valid TOML.
    """

    def __init__(self, original: Original) -> None:
        super().__init__(original.renames)
        self.original = original
        self.document: Mapping[str, object] = parse_toml(original.source)

    def location(self, *keys: str) -> Location:
        """Return the place of a value."""
        return Location(self.original.source.path, pointer=dotted(*keys))

    def remark_at(self, message: str, *keys: str) -> None:
        """Add a remark on a value."""
        self.remark(self.location(*keys), message)

    def problem_at(self, message: str, found: object, expected: str, *keys: str) -> None:
        """Add a problem with a value."""
        self.problems.append(self.location(*keys).problem(message, shown_value(found), expected))

    def table(self, value: object, *keys: str) -> Mapping[str, object]:
        """Return a table; another value is a problem, and an empty table then."""
        if value is None or isinstance(value, dict):
            return value or {}
        self.problem_at(f"found {shown_value(value)}, expected a table", value, "a table", *keys)
        return {}

    def text(self, value: object, *keys: str) -> str:
        """Return a string; another value is a problem, and an empty string then."""
        if value is None or isinstance(value, str):
            return value or ""
        self.problem_at(f"found {shown_value(value)}, expected a string", value, "a string", *keys)
        return ""

    def texts(self, value: object, *keys: str) -> list[str]:
        """Return a list of strings; another value is a problem, and an empty list then."""
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self.problem_at(f"found {shown_value(value)}, expected a list of strings", value, "a list of strings", *keys)
        return []


def shown_value(value: object) -> str:
    """Return ``value``, which may be one of TOML's dates and times, as it is written in a message."""
    return shown(value) if isinstance(value, str | int | float | dict | list) else str(value)


def find_dates(value: object, *keys: str) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield dates and times in ``value``, which TOML has and JSON lacks, with the keys that lead to them."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from find_dates(item, *keys, key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from find_dates(item, *keys, str(number))
    elif not isinstance(value, str | int | float | None):
        yield keys, value
