"""A generation: everything a node's runtime names mean, as one immutable, numbered value.

It is computed from the configuration, the host's facts and this program's version and from nothing
else. What did not change is taken over from the previous generation as it is, so that rendering
happens once for each change of a runtime and never once for each reload or request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimed import __version__
from runtimed.core.config import Config, Definition, config_document, definition_document
from runtimed.core.containerd.names import RUNC_NAME, RUNC_SHIM, STOCK_NAMES
from runtimed.core.containerd.options import RUNC, RUNC_SHIMS, Options, make_options
from runtimed.core.history.layout import RUNC_STATES
from runtimed.core.table.answer import Answer, render_answer
from runtimed.core.table.facts import Facts
from runtimed.core.table.wrapper import Wrapper, make_wrapper

if TYPE_CHECKING:
    from runtimed.core.shapes.runtimes import Provenance


@dataclass(frozen=True, slots=True)
class Host:
    """What the daemon was started on and with: facts of the node, absolute paths of its two roots."""

    facts: Facts
    data_root: str
    exec_root: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """One name of the table and all that it means; ``definition`` and ``text`` are empty for a stock one."""

    name: str
    source: Provenance
    shim: str
    options: Options | None
    answer: Answer
    definition: Definition | None = None
    wrapper: Wrapper | None = None
    # The definition as it stands in the merged daemon.json: `"name": {…}`.
    text: bytes = b""

    @property
    def binary(self) -> str | None:
        """The OCI runtime's binary in the end, a path or a bare name; None where the shim needs none."""
        if self.definition is not None and self.definition.path is not None:
            return self.definition.path
        named = dict(self.options.fields).get("binary_name") if self.options is not None else None
        if named:
            return str(named)
        return RUNC_NAME if self.shim in RUNC_SHIMS else None


@dataclass(frozen=True, slots=True)
class Generation:
    """An immutable table of runtimes. ``digest`` covers all of it but its number and its origins."""

    number: int
    digest: str
    config: Config
    host: Host
    # Sorted by name; stock runtimes included.
    runtimes: Mapping[str, Runtime]
    # The merged configuration as a daemon.json document: what a degraded start rebuilds this from.
    config_text: bytes

    @property
    def wrappers(self) -> Iterator[Wrapper]:
        """Yield the wrappers that this generation's answers name."""
        return (runtime.wrapper for runtime in self.runtimes.values() if runtime.wrapper is not None)


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one generation to another: names of runtimes, and the default where it moved."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    default_runtime: tuple[str, str] | None = None

    @property
    def has_other_answers(self) -> bool:
        """Whether a name is answered otherwise; what an empty one means is not looked at."""
        return bool(self.added or self.changed or self.removed)


def build_generation(config: Config, host: Host, number: int, previous: Generation | None = None) -> Generation:
    """Return the generation that ``config`` means on ``host``.

    ``previous`` only saves work: the result is the same without it.
    """
    known = previous.runtimes if previous is not None and _same_frame(previous, config, host) else {}
    # A stock runtime has no definition, so None stands for "as built in" on both sides.
    wanted: dict[str, Definition | None] = dict.fromkeys(STOCK_NAMES)
    wanted.update(config.runtimes)
    table: dict[str, Runtime] = {}
    for name, definition in wanted.items():
        old = known.get(name)
        if old is None or old.definition != definition:
            old = _runtime(name, definition, config, host)
        table[name] = old
    runtimes = MappingProxyType({name: table[name] for name in sorted(table)})
    text = _config_text(config, runtimes)
    return Generation(number, _digest(config, host, runtimes, text), config, host, runtimes, text)


def compare_generations(old: Generation | None, new: Generation) -> Difference:
    """Return what a client of ``old`` finds different in ``new``."""
    if old is None:
        return Difference(added=tuple(new.runtimes))
    digests = {name: runtime.answer.digest for name, runtime in old.runtimes.items()}
    return compare_answers(digests, old.config.default_runtime, new)


def compare_answers(digests: Mapping[str, str], default_runtime: str, new: Generation) -> Difference:
    """Return what is different in ``new`` for a client of a generation whose answers had ``digests``, by name."""
    after, default = new.runtimes, new.config.default_runtime
    return Difference(
        added=tuple(name for name in after if name not in digests),
        changed=tuple(n for n, r in after.items() if n in digests and digests[n] != r.answer.digest),
        removed=tuple(name for name in digests if name not in after),
        default_runtime=None if default == default_runtime else (default_runtime, default),
    )


def uses_systemd_cgroup(config: Config, facts: Facts) -> bool:
    """Return whether shims are told to make cgroups through systemd, by dockerd's rule.

    A driver in exec-opts decides; without one it is systemd on a unified hierarchy that systemd runs.
    """
    if config.cgroup_driver is not None:
        return config.cgroup_driver == "systemd"
    return facts.cgroup2 and facts.systemd


def _same_frame(previous: Generation, config: Config, host: Host) -> bool:
    # What every path runtime's answer holds besides its own entry.
    return previous.host == host and previous.config.cgroup_driver == config.cgroup_driver


def _runtime(name: str, definition: Definition | None, config: Config, host: Host) -> Runtime:
    if definition is None:
        options: Options | None = _runc_options(RUNC_NAME, config, host)
        return Runtime(name, "stock", RUNC_SHIM, options, render_answer(name, "stock", RUNC_SHIM, options))
    wrapper = None
    if definition.runtime_type is not None:
        shim, options = definition.runtime_type, definition.options
    else:
        binary = definition.path or ""
        if definition.args:
            wrapper = make_wrapper(name, binary, definition.args)
            binary = f"{host.data_root}/wrappers/{wrapper.file}"
        shim, options = RUNC_SHIM, _runc_options(binary, config, host)
    text = f"{json.dumps(name)}: {json.dumps(definition_document(definition))}".encode()
    answer = render_answer(name, "configured", shim, options)
    return Runtime(name, "configured", shim, options, answer, definition, wrapper, text)


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
    # Put together from pieces: one json.dumps of a large table would hold up the event loop.
    settings = json.dumps(config_document(config), indent=2).encode()[:-2]
    entries = b",\n    ".join(runtime.text for runtime in runtimes.values() if runtime.text)
    return settings + b',\n  "runtimes": {' + (b"\n    " + entries + b"\n  " if entries else b"") + b"}\n}\n"


def _digest(config: Config, host: Host, runtimes: Mapping[str, Runtime], config_text: bytes) -> str:
    # Whether there is a main file is part of it: a start protects the table that came from one.
    frame = json.dumps([__version__, config.path, config.path in config.sources, asdict(host)], sort_keys=True).encode()
    digest = hashlib.sha256(frame)
    digest.update(config_text)
    for runtime in runtimes.values():
        digest.update(runtime.answer.digest.encode())
    return f"sha256:{digest.hexdigest()}"
