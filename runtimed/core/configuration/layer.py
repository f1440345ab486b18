"""Reads one document, or the command line, and checks it against every rule that needs no other document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runtimed.core.config import SETTINGS, Definition, Flags, Origin
from runtimed.core.configuration import rules
from runtimed.core.configuration.document import Document
from runtimed.core.configuration.position import Spot
from runtimed.core.configuration.problems import Findings, Problems
from runtimed.core.configuration.schema import Entry, read_entry, read_settings, read_value
from runtimed.core.configuration.settings import Attributes
from runtimed.core.containerd.options import Options, read_options
from runtimed.core.message_text import called, shown


@dataclass(frozen=True, slots=True)
class Layer:
    """The part of the configuration that one document or the command line defines."""

    definitions: Mapping[str, Definition] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    # Every runtime in it, including those with problems.
    names: frozenset[str] = frozenset()
    # Attributes of Config -> value, for each setting in it.
    values: Mapping[Attributes, object] = field(default_factory=dict)
    # The place of "default-runtime", for a problem that only all documents together show.
    default_spot: Spot = field(default=Spot(), compare=False)
    # Of a document: the keys that only dockerd knows, and the keys and "runtimes/NAME" that a flag overrides.
    ignored: tuple[str, ...] = ()
    overridden: frozenset[str] = frozenset()
    # Of the command line: the keys that it sets.
    keys: frozenset[str] = frozenset()


_ADD_RUNTIME = "--add-runtime"
# The place of problems that are only counted.
_NOWHERE = Spot()


def document_layer(document: Document, found: Findings, flags: Layer | None = None) -> Layer:
    """Return the layer of ``document`` without the parts that have problems, and add problems and remarks to ``found``.

    A setting or runtime that ``flags`` has too is not checked, because it has no effect.
    """
    flags = flags or Layer()
    problems = found.problems
    values, ignored, overridden = read_settings(document, found, flags.keys)
    definitions: dict[str, Definition] = {}
    origins: dict[str, Origin] = {}
    runtimes = document.value.get("runtimes")
    runtimes = runtimes if isinstance(runtimes, dict) else {}
    for name, raw in runtimes.items():
        if name in flags.names:
            continue
        entry = read_entry(document, name, raw, found)
        if entry is not None:
            definition = _definition(entry, _check_entry(document, entry, problems))
            # A rejected configuration needs no definitions, and a file full of problems may have many.
            if not problems:
                definitions[name] = definition
                origins[name] = _origin(document, entry)
    overridden |= {f"runtimes/{name}" for name in runtimes.keys() & flags.names}
    default_spot = document.spot(("default-runtime",))
    return Layer(definitions, origins, frozenset(runtimes), values, default_spot, ignored, overridden)


def flags_layer(flags: Flags, problems: Problems) -> Layer:
    """Return the layer of the command line, and add its problems to ``problems``."""
    values: dict[Attributes, object] = {}
    spots = {setting.key: Spot(flag=setting.flags[-1]) for setting in SETTINGS.values() if setting.flags}
    given = {
        key: value
        for key, value in flags.settings.items()
        if value not in (None, "") and not _has_unfit_text(spots[key], value, problems)
    }
    for key, value in given.items():
        values |= read_value(SETTINGS[(key,)], value, spots[key], problems)
    definitions = _added_runtimes(flags.runtimes, problems)
    origins = dict.fromkeys(definitions, Origin(_ADD_RUNTIME))
    names, keys = frozenset(definitions), frozenset(given)
    return Layer(definitions, origins, names, values, spots["default-runtime"], keys=keys)


def _check_entry(document: Document, entry: Entry, problems: Problems) -> Options | None:
    """Add the problems of the runtime ``entry`` to ``problems``, and return its options."""
    pointer = ("runtimes", entry.name)

    def where(field_name: str | None) -> Spot:
        if problems.full:
            return _NOWHERE
        key = entry.spelt.get(field_name) if field_name else None
        return document.key_spot(pointer if key is None else (*pointer, key))

    problems += rules.entry_problems(entry, where)
    if not entry.runtime_type or not entry.options:
        return None
    spelt = (*pointer, entry.spelt["options"])
    options, faults = read_options(entry.runtime_type, entry.options)
    for fault in faults:
        text = f"runtime {called(entry.name)}: {fault.message}"
        spot = _NOWHERE if problems.full else document.key_spot((*spelt, fault.key) if fault.key else spelt)
        problems.append(spot.problem(text, fault.found, fault.expected))
    return options


def _definition(entry: Entry, options: Options | None = None) -> Definition:
    return Definition(entry.name, entry.path or None, entry.args, entry.runtime_type or None, options)


def _origin(document: Document, entry: Entry) -> Origin:
    pointer = ("runtimes", entry.name)
    lines = {name: document.key_place((*pointer, key))[0] for name, key in entry.spelt.items()}
    return Origin(document.path, document.key_place(pointer)[0], MappingProxyType(lines))


def _added_runtimes(given: tuple[str, ...], problems: Problems) -> dict[str, Definition]:
    """Return the runtimes of ``--add-runtime NAME=PATH``; blanks around name and path do not count, as in dockerd."""
    spot = Spot(flag=_ADD_RUNTIME)
    definitions: dict[str, Definition] = {}
    for text in given:
        if _has_unfit_text(spot, text, problems):
            continue
        name, equals, path = (part.strip() for part in text.partition("="))
        if not (name and equals and path):
            problems.append(spot.problem(f"found {shown(text)}, expected NAME=PATH", shown(text), "NAME=PATH"))
            continue
        if name in definitions:
            problems.append(spot.problem(f"runtime {called(name)} is given twice", shown(text), "each runtime once"))
        entry = Entry(name, path)
        problems += rules.entry_problems(entry, lambda _: spot)
        definitions[name] = _definition(entry)
    return definitions


def _has_unfit_text(spot: Spot, value: object, problems: Problems) -> bool:
    """Return whether a flag's value has text that no file could have: NUL, or bytes that are not UTF-8 (PEP 383)."""
    for text in value if isinstance(value, list | tuple) else (value,):
        if isinstance(text, str) and ("\0" in text or any("\ud800" <= char <= "\udfff" for char in text)):
            expected = "UTF-8 text without NUL"
            problems.append(spot.problem(f"found {shown(text)}, expected {expected}", shown(text), expected))
            return True
    return False
