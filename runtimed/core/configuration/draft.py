"""Collects the settings, runtimes, problems and remarks of a configuration while it is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtimed.core.config import Definition, Origin
from runtimed.core.configuration.position import Location
from runtimed.core.configuration.problems import Problems
from runtimed.core.configuration.settings import Attributes
from runtimed.core.configuration.unchanged import ParsedEntries


@dataclass(slots=True)
class Draft:
    """The documents and flags that are read so far; each overwrites the settings and runtimes of those before it."""

    # Attributes of Config -> value, and the place of the value.
    values: dict[Attributes, object] = field(default_factory=dict)
    locations: dict[Attributes, Location] = field(default_factory=dict)
    definitions: dict[str, Definition] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    # Path of a document -> its entries, if they have no problems and no remarks and no flag overrides one.
    parsed: dict[str, ParsedEntries] = field(default_factory=dict)
    # Each path and argument once, because many runtimes have the same.
    texts: dict[str, str] = field(default_factory=dict)
    # All runtimes, including those with problems.
    names: set[str] = field(default_factory=set)
    # Keys that only dockerd knows, in the order of the documents.
    ignored: dict[str, None] = field(default_factory=dict)
    # Keys, and "runtimes/NAME", of documents that a flag overrides.
    overridden: set[str] = field(default_factory=set)
    # Problems reject the configuration; remarks name keys that have no effect.
    problems: Problems = field(default_factory=Problems)
    remarks: Problems = field(default_factory=Problems)
