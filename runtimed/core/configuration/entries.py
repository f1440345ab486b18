"""Reads the entries of ``runtimes`` and the runtimes of ``--add-runtime``. Beside each rule of others is its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from runtimed.core.config import Definition, Origin
from runtimed.core.configuration.carried import read_carried
from runtimed.core.configuration.document import Document
from runtimed.core.configuration.draft import Draft
from runtimed.core.configuration.inputs import Flags
from runtimed.core.configuration.position import Location, Pointer, both_lines
from runtimed.core.configuration.schema import has_invalid_text, size_problems
from runtimed.core.configuration.unchanged import RUNTIMES, ParsedEntries
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import Options, read_options
from runtimed.core.errors import Problem
from runtimed.core.message_text import called, shown

# execve(2): a string has at most 32 pages with its NUL; all strings and pointers a quarter of the usual 8 MiB stack.
MAX_ARGUMENT_BYTES = 131_072 - 1
MAX_ARGUMENTS_BYTES = 2_097_152
# Reserved for the arguments (paths, ids) and the environment that the engine adds when it runs the runtime.
_RESERVED_BYTES = 131_072
_POINTER_BYTES = 8
# path_resolution(7): PATH_MAX with its NUL.
MAX_PATH_BYTES = 4096 - 1

# Field of an entry -> its type, and the words for that. Not checked by pydantic, which takes a kilobyte for each error.
_FIELDS: Mapping[str, tuple[type, str]] = MappingProxyType(
    {
        "path": (str, "a string"),
        "runtimeArgs": (list, "a list of strings"),
        "runtimeType": (str, "a string"),
        "options": (dict, "an object of options by name"),
        "engines": (dict, "an object of keys by engine"),
    }
)
_FIELD_NAMES: Mapping[str, str] = MappingProxyType({name.casefold(): name for name in _FIELDS})
_ADD_RUNTIME = "--add-runtime"
# The place of problems that are only counted.
_NOWHERE = Location()


@dataclass(slots=True)  # not frozen, because that makes an object in a third of the time
class Entry:
    """A runtime in one document or flag: its types are checked, its rules are not; "" and empty mean "not given"."""

    name: str
    path: str = ""
    args: tuple[str, ...] = ()
    runtime_type: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    # As in Definition.
    engines: str = ""
    # Field as daemon.json's manual spells it -> as this document does.
    spelt: Mapping[str, str] = field(default_factory=dict)

    def definition(self, options: Options | None = None) -> Definition:
        """Return the runtime that this entry defines."""
        return Definition(self.name, self.path or None, self.args, self.runtime_type or None, options, self.engines)


def read_entries(document: Document, flags: Flags, draft: Draft) -> None:
    """Add the runtimes of ``document`` to ``draft``, but not those that ``flags`` override, which are not checked."""
    runtimes = document.value.get(RUNTIMES)
    if runtimes is None:
        return
    if not isinstance(runtimes, dict):
        location = document.location(("runtimes",))
        draft.problems.append(location.mismatch(runtimes, "an object of runtimes by name"))
        return
    draft.names |= runtimes.keys()
    overridden = runtimes.keys() & flags.names
    draft.overridden |= {f"runtimes/{name}" for name in overridden}
    remarks = draft.remarks.total
    definitions: dict[str, Definition] = {}
    origins: dict[str, Origin] = {}
    for name, raw in runtimes.items():
        if name in overridden:
            continue
        if isinstance(raw, Definition):
            definitions[name], origins[name] = raw, document.unchanged[name]
        elif (entry := read_entry(document, name, raw, draft)) is not None:
            definition = entry.definition(_check_entry(document, entry, draft))
            # A rejected configuration needs no definitions, and a file full of problems may have many.
            if not draft.problems:
                definitions[name], origins[name] = definition, _origin(document, entry)
    draft.definitions.update(definitions)
    draft.origins.update(origins)
    if len(definitions) == len(runtimes) and draft.remarks.total == remarks:
        parsed = ParsedEntries(document.source, document.entries, tuple(definitions.values()), tuple(origins.values()))
        draft.parsed[document.path] = parsed


def read_added_runtimes(flags: Flags, draft: Draft) -> None:
    """Add the runtimes of ``--add-runtime NAME=PATH`` to ``draft``. dockerd too ignores blanks around name and path."""
    location = Location(flag=_ADD_RUNTIME)
    added: set[str] = set()
    for text in flags.runtimes:
        if has_invalid_text(location, text, draft):
            continue
        name, equals, path = (part.strip() for part in text.partition("="))
        if not (name and equals and path):
            draft.problems.append(location.mismatch(text, "NAME=PATH"))
            continue
        if name in added:
            message = f"runtime {called(name)} is given twice"
            draft.problems.append(location.problem(message, shown(text), "each runtime once"))
        entry = Entry(name, path)
        draft.problems += entry_problems(entry, lambda _: location)
        draft.definitions[name] = entry.definition()
        draft.origins[name] = Origin(_ADD_RUNTIME)
        added.add(name)
    draft.names |= added


def read_entry(document: Document, name: str, raw: object, draft: Draft) -> Entry | None:
    """Return the entry ``raw`` of ``/runtimes/<name>`` with checked types, None if one is wrong.

    Keys match without regard to case, as in dockerd. dockerd ignores unknown keys; here one with an empty value is a
    remark (nvidia-ctk writes ``"args": []``), any other a problem.
    """
    pointer = ("runtimes", name)
    problems = draft.problems
    if raw is None:
        return Entry(name)
    if not isinstance(raw, dict):
        problems.append(document.location(pointer).mismatch(raw, "an object with path or runtimeType"))
        return None
    if too_many := size_problems(document, pointer, {key: raw[key] for key in raw if key.casefold() != "runtimeargs"}):
        problems += too_many
        return None
    before = problems.total
    spelt: dict[str, str] = {}
    given: dict[str, Any] = {}
    for key, value in raw.items():
        name_of_field = _FIELD_NAMES.get(key.casefold())
        if name_of_field is None:
            _unknown_field(document, (*pointer, key), value, draft)
        elif name_of_field in spelt:
            problems.append(_equal_keys(document, (*pointer, spelt[name_of_field]), (*pointer, key)))
        else:
            spelt[name_of_field] = key
            if value is not None:
                given[name_of_field] = value
                _check_field(document, (*pointer, key), value, _FIELDS[name_of_field], draft)
    engines = given.get("engines")
    carried = read_carried(document, (*pointer, spelt["engines"]), engines, draft) if isinstance(engines, dict) else ""
    if problems.total > before:
        return None
    once, path = draft.texts.setdefault, given.get("path", "")
    return Entry(
        name,
        path=once(path, path),
        args=tuple([once(arg, arg) for arg in given.get("runtimeArgs", ())]),
        runtime_type=given.get("runtimeType", ""),
        options=given.get("options", {}),
        engines=carried,
        spelt=MappingProxyType(spelt),
    )


def _check_field(document: Document, pointer: Pointer, value: object, kind: tuple[type, str], draft: Draft) -> None:
    if not isinstance(value, kind[0]):
        draft.problems.append(document.location(pointer).mismatch(value, kind[1]))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if not isinstance(item, str):
                draft.problems.add(partial(_wrong_item, document, (*pointer, index), item))


def _wrong_item(document: Document, pointer: Pointer, item: object) -> Problem:
    return document.location(pointer).mismatch(item, "a string")


def _unknown_field(document: Document, pointer: Pointer, value: object, draft: Draft) -> None:
    key = str(pointer[-1])
    if value in (None, "", [], {}):
        message = f"unknown key of a runtime {shown(key)}, ignored: its value is empty"
        expected = f"one of {', '.join(sorted(_FIELDS))}"
        draft.remarks.add(lambda: document.key_location(pointer).problem(message, shown(key), expected))
    elif key.casefold() == "args":
        message = (
            f'dockerd ignores the key {shown(key)} of a runtime; write the arguments as "runtimeArgs", '
            "or remove the key to go on without them"
        )
        draft.problems.add(lambda: document.key_location(pointer).problem(message, shown(key), "runtimeArgs"))
    else:
        draft.problems.add(lambda: document.key_location(pointer).unknown_key("key of a runtime", key, _FIELDS))


def _equal_keys(document: Document, first: Pointer, second: Pointer) -> Problem:
    names = f"{shown(first[-1])} and {shown(second[-1])}"
    where = both_lines(document.key_place(first)[0], document.key_place(second)[0])
    message = f"{names} are the same key, {where}: keys match without regard to case"
    return document.key_location(second).problem(message, shown(second[-1]), "each key once")


def _check_entry(document: Document, entry: Entry, draft: Draft) -> Options | None:
    """Add the problems of ``entry`` to ``draft``, and return its options."""
    pointer = ("runtimes", entry.name)

    def where(field_name: str | None, *inner: str) -> Location:
        if draft.problems.full:
            return _NOWHERE
        key = entry.spelt.get(field_name) if field_name else None
        return document.key_location(pointer if key is None else (*pointer, key, *inner))

    draft.problems += entry_problems(entry, where)
    if not entry.runtime_type or not entry.options:
        return None
    options, faults = read_options(entry.runtime_type, entry.options)
    for fault in faults:
        location = where("options", fault.key) if fault.key else where("options")
        message = f"runtime {called(entry.name)}: {fault.message}"
        draft.problems.append(location.problem(message, fault.found, fault.expected))
    return options


def _origin(document: Document, entry: Entry) -> Origin:
    return Origin(document.path, *document.key_lines((RUNTIMES, entry.name), entry.spelt))


# Field of the entry, or None for the entry itself -> its place.
Where = Callable[[str | None], Location]


def entry_problems(entry: Entry, where: Where) -> Iterator[Problem]:
    """Yield the problems of a runtime as a whole. The phrases are dockerd's, because people search for them."""
    name = called(entry.name)
    if not entry.name:
        yield where(None).problem("a runtime needs a name, found an empty one", '""', "a name")
    if entry.name == RUNC_NAME:
        message = "runtime name 'runc' is reserved: it always means the runc of this node; choose another name"
        yield where(None).problem(message, '"runc"', "another name")
    if not entry.path and not entry.runtime_type:
        message = f"runtime {name}: either a runtimeType or a path must be configured"
        yield where(None).problem(message, "neither", "path or runtimeType")
    if entry.path and entry.runtime_type:
        message = f"runtime {name}: cannot configure both path and runtimeType for the same runtime"
        yield where("runtimeType").problem(message, "both", "path or runtimeType")
    if entry.path and entry.options:
        message = f"runtime {name}: options cannot be used with a path runtime; give runtimeArgs, or a runtimeType"
        yield where("options").problem(message, "options", "no options beside path")
    if entry.args and entry.runtime_type:
        message = f"runtime {name}: args cannot be used with a runtimeType runtime; give options, or a path"
        yield where("runtimeArgs").problem(message, "runtimeArgs", "no runtimeArgs beside runtimeType")
    yield from _exec_problems(entry, where)


def _exec_problems(entry: Entry, where: Where) -> Iterator[Problem]:
    """Yield the problems of a path and arguments that execve(2) or a shell would not accept."""
    name = called(entry.name)
    if entry.args and entry.path.startswith("-") and "/" not in entry.path:
        message = (
            f"runtime {name}: the path {shown(entry.path)} begins with a dash, and the shell that passes the arguments "
            "would take it for an option; give the whole path"
        )
        yield where("path").problem(message, shown(entry.path), "a path that has a slash or begins otherwise")
    # A character has at most four bytes in UTF-8.
    if 4 * (len(entry.path) + sum(map(len, entry.args))) + len(entry.args) * (_POINTER_BYTES + 1) < MAX_PATH_BYTES:
        return
    path_bytes = len(entry.path.encode())
    sizes = [len(arg.encode()) for arg in entry.args]
    total = path_bytes + sum(sizes) + len(sizes) * (_POINTER_BYTES + 1)
    for field_name, noun, size, most, scope in (
        ("path", "a path", path_bytes, MAX_PATH_BYTES, ""),
        ("runtimeArgs", "an argument", max(sizes, default=0), MAX_ARGUMENT_BYTES, " in each"),
        ("runtimeArgs", "arguments", total, MAX_ARGUMENTS_BYTES - _RESERVED_BYTES, " in all"),
    ):
        if size > most:
            expected = f"at most {most:,} bytes{scope}"
            message = f"runtime {name}: {noun} of {size:,} bytes cannot be executed, expected {expected}"
            yield where(field_name).problem(message, f"{size:,} bytes", expected)
