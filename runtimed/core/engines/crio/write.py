"""Translates the table of ``GET /v1/runtimes`` into a file for CRI-O's crio.conf.d.

CRI-O reads /etc/crio/crio.conf and then every file of crio.conf.d by name; an entry of a later file replaces all keys
of an earlier one. It uses new handlers after a restart only: SIGHUP changes only the configuration that it prints.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from runtimed.core.containerd.names import RUNC_NAME, STOCK_NAMES
from runtimed.core.containerd.options import GENERIC, message_of
from runtimed.core.engines.crio.handlers import (
    BUILT_IN,
    CONFIG_PATH,
    DEFAULT,
    INHERIT,
    OCI,
    PATH,
    POD,
    ROOT,
    SECTION,
    SHIM_FILE,
    TYPE,
    VM,
    VM_ROOT,
)
from runtimed.core.engines.engine import Table
from runtimed.core.engines.kubernetes import HANDLER, NO_HANDLER
from runtimed.core.engines.syntax import dotted
from runtimed.core.engines.translation import Inexpressible, Translation
from runtimed.core.errors import Problem

_RESTART = "CRI-O uses new and changed handlers, and another default, after a restart only"
_MONITOR = (
    "CRI-O does not start unless it finds conmon for each of these handlers: on its PATH, or as the monitor_path of an "
    "entry, which the key engines of a runtime carries"
)


def write_crio(table: Table) -> Translation:
    """Return a crio.conf with the runtimes of ``table`` and its default runtime.

    A path runtime is named by its stable path. The stock runc is included only as the default, because CRI-O would not
    start without it, and its entry replaces the one of CRI-O's package, whose binary may be another one.
    """
    remarks: list[Problem] = []
    handlers: dict[str, dict[str, object]] = {}
    for runtime in table["runtimes"]:
        name = runtime["name"]
        if runtime["definition"] is None:
            continue
        where = dotted(*SECTION, name)
        try:
            handlers[name] = _handler(runtime)
        except Inexpressible as exc:
            remarks.append(Problem(f"left out: {exc}", pointer=where))
            continue
        remarks += [Problem(text, pointer=where) for text in _limitations(runtime, handlers[name])]
    default, where = _add_default(table, handlers), dotted(*DEFAULT)
    if default is None:
        text = f"left out, because CRI-O would not start with {table['default_runtime']}, which it cannot have here"
        remarks.append(Problem(text, pointer=where))
    elif default != table["default_runtime"]:
        text = f"CRI-O gets the stock runtime {table['default_runtime']} as {default}"
        remarks.append(Problem(text, pointer=where))
    if any(handler[TYPE] == OCI and "monitor_path" not in handler for handler in handlers.values()):
        remarks.append(Problem(_MONITOR, pointer=dotted(*SECTION)))
    if handlers:
        remarks.append(Problem(_RESTART, pointer=dotted(*SECTION)))
    runtime_section = {**({} if default is None else {DEFAULT[-1]: default}), SECTION[-1]: handlers}
    return Translation({"crio": {"runtime": runtime_section}}, tuple(remarks))


def _handler(runtime: Mapping[str, Any]) -> dict[str, object]:
    carried = dict(runtime["definition"].get("engines", {}).get("crio", {}))
    if runtime["stable_path"] is not None:
        # conmon-rs executes the same OCI runtimes; only CRI-O knows that it is to be used.
        kind = POD if carried.get(TYPE) == POD else OCI
        carried.pop(CONFIG_PATH, None)
        return {**carried, PATH: runtime["stable_path"], TYPE: kind}
    options = {key: value for key, value in (runtime["options"] or {}).items() if value}
    if message_of(runtime["shim"]) != GENERIC:
        raise Inexpressible(f"CRI-O executes runc without the shim {runtime['shim']}; an entry with a path is for both")
    if without := sorted(options.keys() - {"config_path", "type_url"}):
        raise Inexpressible(f"CRI-O has no notation for {', '.join(without)}")
    binary = runtime["shim_binary"]
    if binary["path"] is None:
        raise Inexpressible(f"CRI-O needs the path of the shim's binary: {binary['reason']}")
    if SHIM_FILE.fullmatch(posixpath.basename(binary["path"])) is None:
        raise Inexpressible(
            f"CRI-O refuses {binary['path']}: the name of a shim is containerd-shim-, letters and digits"
        )
    config_path = {CONFIG_PATH: options["config_path"]} if "config_path" in options else {}
    own: dict[str, object] = {PATH: binary["path"], TYPE: VM, **config_path}
    return {ROOT: VM_ROOT, **{key: value for key, value in carried.items() if key != CONFIG_PATH}, **own}


def _limitations(runtime: Mapping[str, Any], handler: Mapping[str, object]) -> Iterator[str]:
    name = runtime["name"]
    if HANDLER.fullmatch(name) is None:
        yield NO_HANDLER
    if name in (BUILT_IN, RUNC_NAME) and not runtime["definition"].get("engines", {}).get("crio"):
        yield "replaces CRI-O's own entry of this name with all its keys, such as allowed_annotations and monitor_env"
    if handler.get(INHERIT) is True:
        yield f"CRI-O executes the binary of the default runtime instead, because of {INHERIT}"
    if handler[TYPE] == VM and (runtime["options"] or {}).get("type_url"):
        yield "CRI-O passes only the ConfigPath of the options to the shim"


def _add_default(table: Table, handlers: dict[str, dict[str, object]]) -> str | None:
    """Return CRI-O's name for the default runtime, and add the stock runc to ``handlers`` if it is the default."""
    default = str(table["default_runtime"])
    if default in handlers:
        return default
    found = next((runtime for runtime in table["runtimes"] if runtime["name"] == default), None)
    if default not in STOCK_NAMES or found is None or found["definition"] is not None or found["binary"] is None:
        return None
    handlers[RUNC_NAME] = {PATH: found["binary"], TYPE: OCI}
    return RUNC_NAME
