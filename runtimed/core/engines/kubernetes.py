"""Translates the table of ``GET /v1/runtimes`` into RuntimeClass objects for ``kubectl apply -f -``.

The API reference of RuntimeClass (node.k8s.io/v1) says: a handler is a DNS label (RFC 1123) and never changes, a name
is a DNS subdomain. Here both are the runtime's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtimed.core.configuration.position import render_pointer
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.engines.engine import Engine, ExportOptions, Table
from runtimed.core.engines.nfd import label_of
from runtimed.core.engines.syntax import render_json
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import Problem

# For `kubectl apply --prune -l`.
_LABELS = {"app.kubernetes.io/managed-by": "runtimed"}
HANDLER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_RULE = "the handler of a RuntimeClass is at most 63 of a-z, 0-9 and -, without a - at either end"
# A remark for the engines of Kubernetes.
NO_HANDLER = f"Kubernetes cannot use it: {_RULE}"
_NO_LABEL = "left out: its label would be longer than 63 characters, and without a label its pods could go to any node"
_NO_DEFAULT = "left out: a pod without runtimeClassName gets the default runtime of its node's engine"


def write_kubernetes(table: Table, options: ExportOptions) -> Translation:
    """Return a List with a RuntimeClass for each configured runtime of ``table``, and for runc.

    Whether a runtime is available makes no difference, because the objects are those of a cluster. With
    ``options.node_selector`` its pods go to the nodes that have the label of NFD's feature file.
    """
    items: list[object] = []
    remarks: list[Problem] = []
    for runtime in table["runtimes"]:
        name, definition = runtime["name"], runtime["definition"]
        if definition is None and name != RUNC_NAME:
            continue  # the name of the other stock runtime has dots, which a handler cannot have
        where = render_pointer(("runtimes", name))
        label = label_of(name) if options.node_selector else None
        if HANDLER.fullmatch(name) is None:
            remarks.append(Problem(f"left out: {_RULE}", pointer=where))
        elif options.node_selector and label is None:
            remarks.append(Problem(_NO_LABEL, pointer=where))
        else:
            carried = (definition or {}).get("engines", {}).get("kubernetes", {})
            items.append(_merge(carried, _runtime_class(name, label)))
    if table["default_runtime"] != RUNC_NAME:
        remarks.append(Problem(_NO_DEFAULT, pointer="/default-runtime"))
    return Translation({"apiVersion": "v1", "kind": "List", "items": items}, tuple(remarks))


def _runtime_class(name: str, label: str | None) -> dict[str, object]:
    scheduling = {} if label is None else {"scheduling": {"nodeSelector": {label: "true"}}}
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name, "labels": _LABELS},
        "handler": name,
        **scheduling,
    }


def _merge(carried: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, object]:
    """Return ``own`` with all that ``carried`` has in addition, such as an overhead and tolerations."""
    result = {**carried, **own}
    for key in carried.keys() & own.keys():
        if isinstance(carried[key], Mapping) and isinstance(own[key], Mapping):
            result[key] = _merge(carried[key], own[key])
    return result


ENGINE = Engine(
    write=write_kubernetes,
    render=render_json,
)
