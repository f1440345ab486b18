"""Reads a TOML configuration of an engine. The place of a remark or problem is its dotted key."""

from __future__ import annotations

from collections.abc import Mapping

from runtimed.core.configuration.position import Location
from runtimed.core.engines.engine import Original
from runtimed.core.engines.syntax import dotted, parse_toml, shown_toml
from runtimed.core.engines.translation import Reader


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
        self.problems.append(self.location(*keys).problem(message, shown_toml(found), expected))

    def table(self, value: object, *keys: str) -> Mapping[str, object]:
        """Return a table; a problem and an empty table for another value."""
        if value is None or isinstance(value, dict):
            return value or {}
        self.problem_at(f"found {shown_toml(value)}, expected a table", value, "a table", *keys)
        return {}

    def text(self, value: object, *keys: str) -> str:
        """Return a string; a problem and an empty string for another value."""
        if value is None or isinstance(value, str):
            return value or ""
        self.problem_at(f"found {shown_toml(value)}, expected a string", value, "a string", *keys)
        return ""

    def texts(self, value: object, *keys: str) -> list[str]:
        """Return a list of strings; a problem and an empty list for another value."""
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self.problem_at(f"found {shown_toml(value)}, expected a list of strings", value, "a list of strings", *keys)
        return []
