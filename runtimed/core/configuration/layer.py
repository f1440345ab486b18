"""What one document, or the command line, says by itself: checked against every rule that needs no other document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from runtimed.core.collection.references import Engine
from runtimed.core.config import Definition, Flags, Origin
from runtimed.core.configuration import keys, rules
from runtimed.core.configuration.document import Document
from runtimed.core.configuration.position import Spot
from runtimed.core.configuration.problems import Findings, Problems
from runtimed.core.configuration.schema import Entry, read_entry, read_top
from runtimed.core.containerd.options import Options, read_options
from runtimed.core.errors import Problem
from runtimed.core.message_text import called, shown


@dataclass(frozen=True, slots=True)
class Layer:
    """One document's or the command line's share of the configuration; what it does not say is not in here."""

    definitions: Mapping[str, Definition] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    # Field of Settings -> value.
    settings: Mapping[str, object] = field(default_factory=dict)
    default_runtime: tuple[str, Spot] | None = None
    # The driver, which is None for exec-opts that name none; an empty tuple where there are no exec-opts.
    cgroup_driver: tuple[str | None, ...] = ()
    # Fields of Own, of Limits and of Probe -> value.
    own: Mapping[str, object] = field(default_factory=dict)
    limits: Mapping[str, object] = field(default_factory=dict)
    probe: Mapping[str, object] = field(default_factory=dict)
    # Every runtime that stands in it, those with faults too.
    names: frozenset[str] = frozenset()
    # The keys that it sets, but "runtimes" and "runtimed", and the keys in it that mean nothing here.
    keys: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()


# The place of problems that are only counted.
_UNTOLD = Spot()
# Key, and index where the value is a list -> its place.
_Where = Callable[..., Spot]

# Field of Flags -> flag and the key it stands for; of all but the runtimes.
_FLAGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "data_root": ("--data-root", "data-root"),
        "exec_root": ("--exec-root", "exec-root"),
        "hosts": ("--host", "hosts"),
        "group": ("--group", "group"),
        "pidfile": ("--pidfile", "pidfile"),
        "log_level": ("--log-level", "log-level"),
        "log_format": ("--log-format", "log-format"),
        "debug": ("--debug", "debug"),
        "default_runtime": ("--default-runtime", "default-runtime"),
        "exec_opts": ("--exec-opt", "exec-opts"),
    }
)
_ADD_RUNTIME = "--add-runtime"


def document_layer(document: Document, found: Findings, flags: Layer | None = None) -> Layer:
    """Return what ``document`` says, and add to ``found`` what there is to say about it; what is wrong is left out.

    A key or runtime that ``flags`` has too has no effect, and is not judged.
    """
    flags = flags or Layer()
    problems = found.problems
    top, ignored, overridden = read_top(document, found, flags.keys)
    given = top.model_dump(by_alias=True, exclude_none=True, exclude={"runtimed"})
    own = top.runtimed.model_dump(exclude_none=True) if top.runtimed else {}
    if "containerd" in own:
        own["containerd"] = tuple(Engine(**engine) for engine in own["containerd"])
    limits, probe = own.pop("limits", {}), own.pop("probe", {})
    definitions: dict[str, Definition] = {}
    origins: dict[str, Origin] = {}
    runtimes = document.value.get("runtimes")
    runtimes = runtimes if isinstance(runtimes, dict) else {}
    for name, raw in runtimes.items():
        if name in flags.names:
            continue
        entry = read_entry(document, name, raw, found)
        if entry is not None:
            definition = _document_definition(document, entry, problems)
            # After a problem they are of no use, and of a file full of problems there may be many.
            if not problems:
                definitions[name] = definition
                origins[name] = _origin(document, entry)
    layer = _settings_layer(given, lambda key, *index: document.spot((key, *index)), problems)
    layer = replace(layer, definitions=definitions, origins=origins, names=frozenset(runtimes))
    layer = replace(layer, own=own, limits=limits, probe=probe, ignored=ignored)
    return replace(layer, keys=layer.keys | overridden)


def flags_layer(flags: Flags, problems: Problems) -> Layer:
    """Return what the command line says, and add to ``problems`` what is wrong; None and empty say nothing."""
    given: dict[str, object] = {}
    for name, (flag, key) in _FLAGS.items():
        value = getattr(flags, name)
        if value is None or value == () or _unfit(Spot(flag=flag), value, problems):
            continue
        given[key] = list(value) if isinstance(value, tuple) else value
    spots = {key: Spot(flag=flag) for flag, key in _FLAGS.values()}
    layer = _settings_layer(given, lambda key, *_: spots[key], problems)
    definitions = _added_runtimes(flags.runtimes, problems)
    origins = dict.fromkeys(definitions, Origin(_ADD_RUNTIME))
    return replace(layer, definitions=definitions, origins=origins, names=frozenset(definitions))


def _settings_layer(given: Mapping[str, object], where: _Where, problems: Problems) -> Layer:
    """Return a layer of everything but the runtimes; ``given`` is key -> value of the right type, "" is not given."""
    # An empty list of hosts is none either: a daemon that nobody can reach is not what anybody means.
    given = {key: value for key, value in given.items() if value != "" and (key, value) != ("hosts", [])}
    settings: dict[str, object] = {}
    default_runtime = None
    cgroup_driver: tuple[str | None, ...] = ()
    for key, value in given.items():
        match key, value:
            case "default-runtime", str():
                default_runtime = value, where(key)
            case "exec-opts", list():
                driver, faults = rules.cgroup_driver([(item, where(key, index)) for index, item in enumerate(value)])
                cgroup_driver = (driver,)
                problems += faults
            case _:
                faults = list(_setting(key, value, where, settings))
                problems += faults
    return Layer(settings=settings, default_runtime=default_runtime, cgroup_driver=cgroup_driver, keys=frozenset(given))


def _setting(key: str, value: object, where: _Where, settings: dict[str, object]) -> Iterable[Problem]:
    """Put ``value`` into ``settings`` as Settings has it, and return what is wrong with it."""
    result: object | Problem | None = value
    match key, value:
        case "hosts", list():
            faults = [rules.host_problem(host, where(key, index)) for index, host in enumerate(value)]
            settings["hosts"] = tuple(value)
            return [fault for fault in faults if fault is not None]
        case (("data-root" | "exec-root"), str()):
            result = rules.root_problem(key, value, where(key)) or value
        case "log-level", str():
            result = rules.log_level(value, where(key))
        case "log-format", str():
            result = rules.log_format(value, where(key))
    if isinstance(result, Problem):
        return [result]
    settings[keys.SETTINGS[key]] = result
    return []


def _document_definition(document: Document, entry: Entry, problems: Problems) -> Definition:
    """Return the runtime that ``entry`` defines, and add to ``problems`` what is wrong with it."""
    pointer = ("runtimes", entry.name)

    def where(canonical: str | None) -> Spot:
        if problems.full:
            return _UNTOLD
        key = entry.spelt.get(canonical) if canonical else None
        return document.key_spot(pointer if key is None else (*pointer, key))

    problems += rules.entry_problems(entry, where)
    options: Options | None = None
    if entry.runtime_type and entry.options:
        spelt = (*pointer, entry.spelt["options"])
        options, faults = read_options(entry.runtime_type, entry.options)
        for fault in faults:
            if problems.full:
                problems.untold += 1
                continue
            spot = document.key_spot((*spelt, fault.key) if fault.key else spelt)
            text = f"runtime {called(entry.name)}: {fault.message}"
            problems.append(spot.problem(text, fault.found, fault.expected))
    return _definition(entry, options)


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
        if _unfit(spot, text, problems):
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


def _unfit(spot: Spot, value: object, problems: Problems) -> bool:
    """Return whether a flag's value holds what no file could: NUL, or bytes that are no UTF-8 (PEP 383)."""
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str) and ("\0" in text or any("\ud800" <= char <= "\udfff" for char in text)):
            expected = "UTF-8 text without NUL"
            problems.append(spot.problem(f"found {shown(text)}, expected {expected}", shown(text), expected))
            return True
    return False
