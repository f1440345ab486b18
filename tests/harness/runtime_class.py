"""Describes RuntimeClass as a JSON schema, after Kubernetes' API reference of node.k8s.io/v1.

The schema has the fields that a person may set; the API server refuses or drops all others.
"""

from __future__ import annotations

from typing import Any

# RFC 1123, as apimachinery's IsDNS1123Label and IsDNS1123Subdomain have it; \Z, because $ accepts a line feed.
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_DNS_LABEL = {"type": "string", "maxLength": 63, "pattern": rf"^{_LABEL}\Z"}
_DNS_SUBDOMAIN = {"type": "string", "maxLength": 253, "pattern": rf"^{_LABEL}(\.{_LABEL})*\Z"}
# Keys and values as IsQualifiedName and IsValidLabelValue have them.
_LABELS = {
    "type": "object",
    "propertyNames": {"pattern": rf"^([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?(?=[^/]{{1,63}}\Z){_NAME}\Z"},
    "additionalProperties": {"type": "string", "maxLength": 63, "pattern": rf"^({_NAME})?\Z"},
}
_TOLERATION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "effect": {"enum": ["", "NoSchedule", "PreferNoSchedule", "NoExecute"]},
        "key": {"type": "string"},
        "operator": {"enum": ["", "Exists", "Equal", "Lt", "Gt"]},
        "tolerationSeconds": {"type": "integer"},
        "value": {"type": "string"},
    },
}
_QUANTITY = {"type": ["string", "number"], "pattern": r"^[+-]?[0-9.]+([eE][+-]?[0-9]+|[numkKMGTPE]i?)?\Z"}
RUNTIME_CLASS: dict[str, Any] = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "handler"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "node.k8s.io/v1"},
        "kind": {"const": "RuntimeClass"},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": _DNS_SUBDOMAIN,
                "labels": _LABELS,
                "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "handler": _DNS_LABEL,
        "overhead": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"podFixed": {"type": "object", "additionalProperties": _QUANTITY}},
        },
        "scheduling": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"nodeSelector": _LABELS, "tolerations": {"type": "array", "items": _TOLERATION}},
        },
    },
}
LIST: dict[str, Any] = {
    "type": "object",
    "required": ["apiVersion", "kind", "items"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "v1"},
        "kind": {"const": "List"},
        "items": {"type": "array", "items": RUNTIME_CLASS, "minItems": 1},
    },
}
