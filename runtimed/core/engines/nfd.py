"""Translates the table of ``GET /v1/runtimes`` into a feature file for Node Feature Discovery (NFD).

nfd-worker (``source/local/local.go``) makes a node label of each line ``NAME=VALUE``, ignores lines that begin with #
(since 0.14), and ignores a file of more than 64 KiB. It reads the directory when that changes, and every minute.
nfd-master accepts label namespaces below feature.node.kubernetes.io without a setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from runtimed.core.configuration.position import render_pointer
from runtimed.core.engines.engine import Document, Engine, ExportOptions, Found, Plan, Table, Writing
from runtimed.core.engines.ownership import owned_write
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called

FILE = "/etc/kubernetes/node-feature-discovery/features.d/runtimed"
# The largest file that nfd-worker reads (MaxFeatureFileSize).
MAX_BYTES = 65536
_NAMESPACE = "runtimed.feature.node.kubernetes.io"
# The name of a label without its namespace, and the value of a label, which may also be empty.
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
_FORM = "at most 63 of A-Z, a-z, 0-9, ., _ and -, with a letter or digit at both ends"


def label_of(name: str, kind: str = "runtime") -> str | None:
    """Return the node label that says that a node has the runtime ``name``, None if it would not be a label.

    Another ``kind`` is a feature of the runtime. It precedes the name, because a name may end like a kind.
    """
    label = f"{kind}-{name}"
    return None if _LABEL.fullmatch(label) is None else f"{_NAMESPACE}/{label}"


def write_nfd(table: Table) -> Translation:
    """Return the labels of the available runtimes of ``table``, of their features, and of the default runtime."""
    labels: dict[str, object] = {}
    remarks: list[Problem] = []
    for runtime in table["runtimes"]:
        name, definition = runtime["name"], runtime["definition"] or {}
        where = render_pointer(("runtimes", name))
        if "nfd" in definition.get("engines", {}):
            remarks.append(Problem("left out: a feature file has labels only", pointer=f"{where}/engines/nfd"))
        if runtime["available"]:
            for kind in _kinds(runtime):
                label = label_of(name, kind)
                if label is None:
                    remarks.append(Problem(f"the label {kind}-NAME is left out: a label is {_FORM}", pointer=where))
                else:
                    labels[label] = "true"
        elif definition:
            remarks.append(Problem(f"left out: not available: {runtime['reason']}", pointer=where))
    default = table["default_runtime"]
    if fault := _fault_of_default(table, default):
        remarks.append(Problem(f"left out: {fault}", pointer="/default-runtime"))
    else:
        labels[f"{_NAMESPACE}/default"] = default
    return Translation(labels, tuple(remarks))


def _kinds(runtime: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kinds of labels that a runtime has."""
    yield "runtime"
    # containerd's rule for the CRI's feature of this name. The scheduler cannot select nodes by that one.
    found = (runtime["features"] or {}).get("features")
    namespaces = _at(found, "linux", "namespaces")
    idmap = _at(found, "linux", "mountExtensions", "idmap", "enabled")
    if isinstance(namespaces, list) and "user" in namespaces and idmap is True:
        yield "user-namespaces"


def _at(value: object, *keys: str) -> object:
    """Return the value below ``keys``, None if it is missing: the output of a binary may have any shape."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _fault_of_default(table: Table, default: str) -> str | None:
    """Return why there is no label for the default runtime, None if there is one."""
    if not any(runtime["name"] == default and runtime["available"] for runtime in table["runtimes"]):
        return f"{called(default)} is not known to be available"
    return None if _LABEL.fullmatch(default) else f"the value of a label is {_FORM}"


def _render(document: Document) -> str:
    return "".join(f"{label}={value}\n" for label, value in document.items())


def _plan(table: Table, _: ExportOptions, found: Found) -> Plan:
    translation = write_nfd(table)
    write = owned_write(FILE, _render(translation.document), found)
    if len(write.data) > MAX_BYTES:
        message = f"the labels have {len(write.data):,} bytes, and nfd-worker ignores a file of more than {MAX_BYTES:,}"
        raise ConfigurationRejected((Problem(message, FILE),), remarks=translation.remarks)
    return Plan((write,), translation.remarks)


ENGINE = Engine(
    write=lambda table, _: write_nfd(table),
    render=_render,
    writing=Writing(path=FILE, inputs=(FILE,), version=None, plan=_plan),
)
