"""Builds generations: renders changed runtimes, and shares the others with the previous generation.

A generation depends on the configuration, the host's facts and this program's version only. A runtime is rendered once
for each change, not for each reload or request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from types import MappingProxyType

from runtimed import __version__
from runtimed.core.config import Config, Definition
from runtimed.core.configuration.rendering import config_document, definition_document
from runtimed.core.containerd.names import RUNC_NAME, RUNC_SHIM, STOCK_NAMES, file_name
from runtimed.core.containerd.options import RUNC, Options, make_options
from runtimed.core.history.layout import PINS, RUNC_STATES, WRAPPERS
from runtimed.core.table.answer import render_answer
from runtimed.core.table.availability import index_binaries
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host, Runtime
from runtimed.core.table.launcher import make_launcher
from runtimed.core.table.script import Script
from runtimed.core.table.wrapper import make_wrapper


def build_generation(config: Config, host: Host, number: int, previous: Generation | None = None) -> Generation:
    """Return generation ``number`` of ``config`` on ``host``.

    ``previous`` only saves work: the result is the same without it. A runtime with an equal definition is the same
    object in both generations, and so is the definition. The rest takes a few passes over the table.
    """
    before: Mapping[str, Runtime] = {}
    defined: Mapping[str, Definition] = {}
    index: Mapping[str, tuple[str, ...]] = {}
    checksum = 0
    if previous is not None and previous.host == host and previous.config.cgroup_driver == config.cgroup_driver:
        before, defined, index = previous.runtimes, previous.config.runtimes, previous.binaries
        checksum = previous.checksum
    config, changed = _share_definitions(config, defined)
    touched = {*changed, *(defined.keys() - config.runtimes.keys()), *(STOCK_NAMES if not before else ())}
    table = dict(before)
    options = _runc_options(config, host)
    for name in touched:
        if name in before:
            checksum -= _checksum(before[name])
        definition = config.runtimes.get(name)
        if definition is not None:
            table[name] = _configured(definition, options, host)
        elif name in STOCK_NAMES:
            table[name] = _stock(name, options)
        else:
            del table[name]
        if name in table:
            checksum += _checksum(table[name])
    if table.keys() != before.keys():
        table = {name: table[name] for name in sorted(table)}
    runtimes = MappingProxyType(table)
    text = _config_text(config, runtimes)
    binaries = index_binaries(runtimes, touched, before, index)
    digest = _digest(config, host, text, checksum)
    return Generation(number, digest, config, host, runtimes, text, binaries, checksum)


def _share_definitions(config: Config, defined: Mapping[str, Definition]) -> tuple[Config, list[str]]:
    """Return ``config`` with the objects of ``defined`` in place of equal ones, and the names of the others."""
    others = [name for name, definition in config.runtimes.items() if defined.get(name) is not definition]
    equal = {name: defined[name] for name in others if defined.get(name) == config.runtimes[name]}
    if equal:
        parsed = {path: each.sharing(equal) for path, each in config.parsed.items()}
        config = replace(
            config, runtimes=MappingProxyType({**config.runtimes, **equal}), parsed=MappingProxyType(parsed)
        )
    return config, [name for name in others if name not in equal]


def uses_systemd_cgroup(config: Config, facts: Facts) -> bool:
    """Return whether shims create cgroups through systemd, by dockerd's rule.

    A driver in exec-opts decides; without one, the unified hierarchy and systemd as init together mean systemd.
    """
    if config.cgroup_driver is not None:
        return config.cgroup_driver == "systemd"
    return facts.cgroup2 and facts.systemd


def _stock(name: str, runc: Options) -> Runtime:
    options = _with_binary(runc, RUNC_NAME)
    return Runtime(name, "stock", RUNC_SHIM, options, render_answer(name, "stock", RUNC_SHIM, options))


def _configured(definition: Definition, runc: Options, host: Host) -> Runtime:
    name = definition.name
    wrapper = launcher = None
    if definition.runtime_type is not None:
        shim, options = definition.runtime_type, definition.options
    else:
        wrapper, launcher, binary = make_scripts(definition, host)
        shim, options = RUNC_SHIM, _with_binary(runc, binary)
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


def _runc_options(config: Config, host: Host) -> Options:
    """Return the options that all runtimes behind runc's shim share, with an empty name of the binary."""
    return make_options(
        RUNC,
        {
            "no_pivot_root": host.facts.ramdisk,
            "binary_name": "",
            "root": f"{host.exec_root}/{RUNC_STATES}",
            "systemd_cgroup": uses_systemd_cgroup(config, host.facts),
        },
    )


def _with_binary(options: Options, binary: str) -> Options:
    # The other fields are the same objects in a whole table.
    pivot, _, root, cgroup = options.fields
    return Options(RUNC, (pivot, ("binary_name", binary), root, cgroup))


def _config_text(config: Config, runtimes: Mapping[str, Runtime]) -> bytes:
    # Joined from pieces, because one json.dumps() of a large table would block the event loop.
    settings = json.dumps(config_document(config), indent=2).encode()[:-2]
    entries = b",\n    ".join([runtime.text for runtime in runtimes.values() if runtime.text])
    return settings + b',\n  "runtimes": {' + (b"\n    " + entries + b"\n  " if entries else b"") + b"}\n}\n"


def _checksum(runtime: Runtime) -> int:
    file = "" if runtime.launcher is None else runtime.launcher.file
    return int.from_bytes(hashlib.sha256(runtime.answer.tail + file.encode()).digest())


def _digest(config: Config, host: Host, config_text: bytes, checksum: int) -> str:
    # The existence of the main file counts, because a start protects a table that came from one. The PATH counts only
    # where a launcher holds it.
    facts = asdict(replace(host, facts=replace(host.facts, search="")))
    head = json.dumps([__version__, config.path, config.path in config.sources, facts], sort_keys=True).encode()
    digest = hashlib.sha256(head)
    digest.update(config_text)
    digest.update(b"%x" % checksum)
    return f"sha256:{digest.hexdigest()}"
