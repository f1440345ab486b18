"""Builds generations, the immutable and numbered tables of runtimes, and compares them.

A generation depends on the configuration, the host's facts and this program's version only. Unchanged runtimes are
shared with the previous generation, so a runtime is rendered once for each change, not for each reload or request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimed import __version__
from runtimed.core.config import Config, Definition
from runtimed.core.configuration.rendering import config_document, definition_document
from runtimed.core.containerd.names import RUNC_NAME, RUNC_SHIM, STOCK_NAMES, file_name
from runtimed.core.containerd.options import RUNC, RUNC_SHIMS, Options, make_options
from runtimed.core.history.layout import PINS, RUNC_STATES, WRAPPERS
from runtimed.core.table.answer import Answer, render_answer
from runtimed.core.table.facts import Facts
from runtimed.core.table.launcher import make_launcher
from runtimed.core.table.script import Script
from runtimed.core.table.wrapper import make_wrapper

if TYPE_CHECKING:
    from runtimed.core import shapes

    # Maps a name to its entry of daemon.json's `runtimes`; None for a stock runtime and for an unknown name.
    Define = Callable[[str], shapes.Definition | None]

# A runtime has changed when one of these has: the digest of its resolution, and its carried keys.
Identity = tuple[str, str]
# Names in each list of a summary of changes, which the list of generations repeats for each generation.
_SUMMARISED_MAX = 50


@dataclass(frozen=True, slots=True)
class Host:
    """The facts of the node, and the absolute paths of the daemon's data root and exec root."""

    facts: Facts
    data_root: str
    exec_root: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """An entry of the table with its resolution; ``definition`` and ``text`` are empty for a stock runtime."""

    name: str
    source: shapes.Provenance
    shim: str
    options: Options | None
    answer: Answer
    definition: Definition | None = None
    wrapper: Script | None = None
    # The script at the stable path, None where the runtime has no `path`.
    launcher: Script | None = None
    # The definition as a line of the merged daemon.json: `"name": {…}`.
    text: bytes = b""

    @property
    def binary(self) -> str | None:
        """The binary of the OCI runtime behind any wrapper, a path or a name; None where the shim needs none."""
        if self.definition is not None and self.definition.path is not None:
            return self.definition.path
        named = self.options.binary_name if self.options is not None else ""
        return named or (RUNC_NAME if self.shim in RUNC_SHIMS else None)

    @property
    def target(self) -> str | None:
        """The wrapper or the binary that a pin of the launcher names; None where there is no launcher."""
        return self.options.binary_name if self.launcher is not None and self.options is not None else None


@dataclass(frozen=True, slots=True)
class Generation:
    """An immutable table of runtimes. ``digest`` covers everything except the number and the origins."""

    number: int
    digest: str
    config: Config
    host: Host
    # Sorted by name; stock runtimes included.
    runtimes: Mapping[str, Runtime]
    # The merged configuration as a daemon.json document, from which a degraded start rebuilds the generation.
    config_text: bytes

    @property
    def launchers(self) -> Mapping[str, Runtime]:
        """The runtimes that have a launcher, by the file names of their stable paths."""
        return {r.launcher.link: r for r in self.runtimes.values() if r.launcher is not None}

    @property
    def links(self) -> Mapping[str, str]:
        """The files of the launchers, by the same file names."""
        return {r.launcher.link: r.launcher.file for r in self.runtimes.values() if r.launcher is not None}

    @property
    def wrappers(self) -> Iterator[Script]:
        """Yield the wrappers, which resolutions name."""
        return (runtime.wrapper for runtime in self.runtimes.values() if runtime.wrapper is not None)

    @property
    def scripts(self) -> Iterator[Script]:
        """Yield the wrappers and launchers of this generation's runtimes."""
        return (each for r in self.runtimes.values() for each in (r.wrapper, r.launcher) if each is not None)

    def definition(self, name: str) -> shapes.Definition | None:
        """Return the entry of daemon.json's ``runtimes`` for ``name``; None for a stock runtime and an unknown name."""
        runtime = self.runtimes.get(name)
        return None if runtime is None or runtime.definition is None else definition_document(runtime.definition)

    @property
    def engines(self) -> Mapping[str, str]:
        """The carried keys of the runtimes that have some, by name (see `Definition.engines`)."""
        definitions = ((name, runtime.definition) for name, runtime in self.runtimes.items())
        return {name: found.engines for name, found in definitions if found is not None and found.engines}

    @property
    def identities(self) -> Mapping[str, Identity]:
        """The identities of the runtimes, by name."""
        engines = self.engines
        return {name: (runtime.answer.digest, engines.get(name, "")) for name, runtime in self.runtimes.items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """The changes between two generations: names of runtimes, and the old and new default where it changed."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    default_runtime: tuple[str, str] | None = None

    @property
    def changes_resolutions(self) -> bool:
        """Whether the resolution or the carried keys of a name differ; the default runtime does not count."""
        return bool(self.added or self.changed or self.removed)

    def summarise(self) -> shapes.Changes:
        """Return the JSON shape of the changes for the list of generations, without definitions."""
        default = self.default_runtime
        return {
            "added": list(self.added[:_SUMMARISED_MAX]),
            "added_count": len(self.added),
            "changed": list(self.changed[:_SUMMARISED_MAX]),
            "changed_count": len(self.changed),
            "removed": list(self.removed[:_SUMMARISED_MAX]),
            "removed_count": len(self.removed),
            "default_runtime": None if default is None else {"from": default[0], "to": default[1]},
        }

    def describe(self, old: int, new: int, before: Define, after: Define) -> shapes.GenerationsDiff:
        """Return the JSON shape of /v1/diff for the generations ``old`` and ``new``, with the definitions of both."""

        def describe(names: tuple[str, ...]) -> list[shapes.RuntimeChange]:
            return [{"name": name, "from": before(name), "to": after(name)} for name in names]

        default = self.default_runtime
        return {
            "from": old,
            "to": new,
            "added": describe(self.added),
            "changed": describe(self.changed),
            "removed": describe(self.removed),
            "default_runtime": None if default is None else {"from": default[0], "to": default[1]},
        }


def build_generation(config: Config, host: Host, number: int, previous: Generation | None = None) -> Generation:
    """Return generation ``number`` of ``config`` on ``host``.

    ``previous`` only saves work: the result is the same without it.
    """
    known: Mapping[str, Runtime] = {}
    if previous is not None and previous.host == host and previous.config.cgroup_driver == config.cgroup_driver:
        known = previous.runtimes
    # The definition of a stock runtime is None.
    definitions: dict[str, Definition | None] = {**dict.fromkeys(STOCK_NAMES), **config.runtimes}
    table: dict[str, Runtime] = {}
    for name in sorted(definitions):
        old = known.get(name)
        if old is None or old.definition != definitions[name]:
            old = _runtime(name, definitions[name], config, host)
        table[name] = old
    runtimes = MappingProxyType(table)
    text = _config_text(config, runtimes)
    return Generation(number, _digest(config, host, runtimes, text), config, host, runtimes, text)


def compare_generations(old: Generation | None, new: Generation) -> Difference:
    """Return the difference from ``old``, or from an empty table, to ``new``."""
    if old is None:
        return Difference(added=tuple(new.runtimes))
    defaults = old.config.default_runtime, new.config.default_runtime
    return compare_identities(old.identities, new.identities, defaults)


def compare_identities(
    old: Mapping[str, Identity], new: Mapping[str, Identity], defaults: tuple[str, str]
) -> Difference:
    """Return the difference between two generations, from the identities of their runtimes and their defaults."""
    return Difference(
        added=tuple(name for name in new if name not in old),
        changed=tuple(name for name in new if name in old and old[name] != new[name]),
        removed=tuple(name for name in old if name not in new),
        default_runtime=None if defaults[0] == defaults[1] else defaults,
    )


def uses_systemd_cgroup(config: Config, facts: Facts) -> bool:
    """Return whether shims create cgroups through systemd, by dockerd's rule.

    A driver in exec-opts decides; without one, the unified hierarchy and systemd as init together mean systemd.
    """
    if config.cgroup_driver is not None:
        return config.cgroup_driver == "systemd"
    return facts.cgroup2 and facts.systemd


def _runtime(name: str, definition: Definition | None, config: Config, host: Host) -> Runtime:
    if definition is None:
        options: Options | None = _runc_options(RUNC_NAME, config, host)
        return Runtime(name, "stock", RUNC_SHIM, options, render_answer(name, "stock", RUNC_SHIM, options))
    wrapper = launcher = None
    if definition.runtime_type is not None:
        shim, options = definition.runtime_type, definition.options
    else:
        wrapper, launcher, binary = make_scripts(definition, host)
        shim, options = RUNC_SHIM, _runc_options(binary, config, host)
    text = f"{json.dumps(name)}: {json.dumps(definition_document(definition))}".encode()
    answer = render_answer(name, "configured", shim, options)
    return Runtime(name, "configured", shim, options, answer, definition, wrapper, launcher, text)


def make_scripts(definition: Definition, host: Host) -> tuple[Script | None, Script, str]:
    """Return the wrapper, if any, and the launcher of a ``path`` runtime, and the binary that its resolution names."""
    path, args = definition.path or "", definition.args
    wrapper = make_wrapper(definition.name, path, args) if args else None
    target = path if wrapper is None else f"{host.data_root}/{WRAPPERS}/{wrapper.file}"
    link = wrapper.link if wrapper is not None else file_name(definition.name)
    return wrapper, make_launcher(link, path, args, target, _pins(host.exec_root), host.facts.search), target


@cache
def _pins(exec_root: str) -> str:
    # Cached, because all launchers refer to this one string.
    return f"{exec_root}/{PINS}"


def _runc_options(binary: str, config: Config, host: Host) -> Options:
    return make_options(
        RUNC,
        {
            "no_pivot_root": host.facts.ramdisk,
            "binary_name": binary,
            "root": f"{host.exec_root}/{RUNC_STATES}",
            "systemd_cgroup": uses_systemd_cgroup(config, host.facts),
        },
    )


def _config_text(config: Config, runtimes: Mapping[str, Runtime]) -> bytes:
    # Joined from pieces, because one json.dumps() of a large table would block the event loop.
    settings = json.dumps(config_document(config), indent=2).encode()[:-2]
    entries = b",\n    ".join(runtime.text for runtime in runtimes.values() if runtime.text)
    return settings + b',\n  "runtimes": {' + (b"\n    " + entries + b"\n  " if entries else b"") + b"}\n}\n"


def _digest(config: Config, host: Host, runtimes: Mapping[str, Runtime], config_text: bytes) -> str:
    # The existence of the main file counts, because a start protects a table that came from one. The PATH counts only
    # where a launcher holds it.
    facts = asdict(replace(host, facts=replace(host.facts, search="")))
    head = json.dumps([__version__, config.path, config.path in config.sources, facts], sort_keys=True).encode()
    digest = hashlib.sha256(head)
    digest.update(config_text)
    for runtime in runtimes.values():
        digest.update(runtime.answer.digest.encode())
        if runtime.launcher is not None:
            digest.update(runtime.launcher.file.encode())
    return f"sha256:{digest.hexdigest()}"
