"""The part of containerd's API that this program speaks: which containers there are, and what starts them.

Field numbers are those of containerd's ``api/services/namespaces/v1/namespace.proto``,
``api/services/containers/v1/containers.proto`` and ``runtime/linux/runctypes/runc.proto``. Only fields
that are used are described; a decoder skips the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from runtimed.core.containerd.protobuf import Fields, message_classes, parse_message
from runtimed.core.errors import RuntimedError

LIST_NAMESPACES = "/containerd.services.namespaces.v1.Namespaces/List"
# One message a container: a node's whole list in one message passes the 16 MiB that containerd sends at most.
LIST_CONTAINERS = "/containerd.services.containers.v1.Containers/ListStream"
# Which namespace a call is about.
NAMESPACE_HEADER = "containerd-namespace"


class ContainerdUnknown(RuntimedError):
    """What containers the containerd at ``address`` has cannot be known; ``reason`` says why."""

    code = "containerd-unknown"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"containerd at {address}: {reason}")
        self.address = address
        self.reason = reason


class UndecodableAnswer(RuntimedError):
    """Bytes that came from containerd are no ``message``."""

    code = "undecodable-answer"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(f"undecodable {message}: {reason}")
        self.message = message
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Container:
    """A container in containerd's metadata, with a task or without.

    ``runtime_name`` is the shim's name (or path), ``type_url`` and ``value`` its options as they were
    given; both are empty where there are none.
    """

    namespace: str
    id: str
    runtime_name: str
    type_url: str
    value: bytes


_MESSAGES: Mapping[str, Fields] = MappingProxyType(
    {
        # google.protobuf.Any under a name of our own: the same bytes, without its file in the pool.
        "Any": ((1, "type_url", "string"), (2, "value", "bytes")),
        "Namespace": ((1, "name", "string"),),
        "ListNamespacesResponse": ((1, "namespaces", ["Namespace"]),),
        "Runtime": ((1, "name", "string"), (2, "options", "Any")),
        "Container": ((1, "id", "string"), (4, "runtime", "Runtime"), (5, "spec", "Any")),
        # CreateContainerRequest and ListContainerMessage are alike.
        "ContainerMessage": ((1, "container", "Container"),),
        # The options of containerd 1's io.containerd.runtime.v1.linux.
        "RuncOptions": ((1, "runtime", "string"),),
    }
)
_PACKAGE = "runtimed.containerd"


def new_message(name: str) -> Any:
    """Return a new, empty message of the kind ``name`` (see the table above)."""
    return _message_classes()[name]()


def decode_namespaces(data: bytes) -> tuple[str, ...]:
    """Return the names in ``data``, a ListNamespacesResponse.

    Raises:
        UndecodableAnswer: it is none.
    """
    return tuple(namespace.name for namespace in _decode("ListNamespacesResponse", data).namespaces)


def decode_container(namespace: str, data: bytes) -> Container:
    """Return the container in ``data``, a ListContainerMessage for ``namespace``.

    Raises:
        UndecodableAnswer: it is none.
    """
    found = _decode("ContainerMessage", data).container
    if not found.id:
        raise UndecodableAnswer("ContainerMessage", "a container without an id")
    options = found.runtime.options
    return Container(namespace, found.id, found.runtime.name, options.type_url, options.value)


def decode_linux_runtime(value: bytes) -> str:
    """Return the binary in ``value``, a ``containerd.linux.runc.RuncOptions``; "" where it names none.

    Raises:
        UndecodableAnswer: it is no such message.
    """
    return str(_decode("RuncOptions", value).runtime)


def _decode(name: str, data: bytes) -> Any:
    try:
        return parse_message(_message_classes()[name], data)
    except ValueError as error:
        raise UndecodableAnswer(name, str(error)) from error


@cache
def _message_classes() -> Mapping[str, Any]:
    return message_classes(_PACKAGE, _MESSAGES)
