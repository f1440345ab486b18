"""Encodes and decodes the Status call of Kubernetes' Container Runtime Interface, as containerd answers it.

Field numbers are those of ``k8s.io/cri-api/pkg/apis/runtime/v1/api.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from runtimed.core.containerd.protobuf import Fields, message_classes, parse_message

STATUS = "/runtime.v1.RuntimeService/Status"
# A StatusRequest whose field 1, verbose, is true.
VERBOSE_REQUEST = b"\x08\x01"

_MESSAGES: Mapping[str, Fields] = {
    # A map is a repeated message of keys and values on the wire.
    "InfoEntry": ((1, "key", "string"), (2, "value", "string")),
    "StatusResponse": ((2, "info", ["InfoEntry"]),),
}


def decode_status_config(data: bytes) -> bytes:
    """Return the JSON of ``info["config"]`` in ``data``, a verbose StatusResponse.

    Raises:
        ValueError: ``data`` is not such a message, or has no such entry.
    """
    response = parse_message(_message_classes()["StatusResponse"], data)
    for entry in response.info:
        if entry.key == "config":
            return str(entry.value).encode()
    raise ValueError("the status has no configuration")


@cache
def _message_classes() -> Mapping[str, Any]:
    return message_classes("runtimed.cri", _MESSAGES)
