"""Decodes the messages of containerd's API that list its containers and sandboxes.

Field numbers are those of containerd's ``api/services/namespaces/v1/namespace.proto``,
``api/services/containers/v1/containers.proto``, ``api/services/sandbox/v1/sandbox.proto``, ``api/types/sandbox.proto``
and ``runtime/linux/runctypes/runc.proto``. The decoder skips all fields that the table below does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from runtimed.core.containerd.protobuf import Fields, message_classes, parse_message
from runtimed.core.errors import RuntimedError

LIST_NAMESPACES = "/containerd.services.namespaces.v1.Namespaces/List"
# A stream with one message for each container, because one message for all may exceed containerd's limit of 16 MiB.
LIST_CONTAINERS = "/containerd.services.containers.v1.Containers/ListStream"
# One message for all sandboxes of a namespace. containerd has it since 1.7.
LIST_SANDBOXES = "/containerd.services.sandbox.v1.Store/List"
# The metadata key with the namespace of a call.
NAMESPACE_HEADER = "containerd-namespace"


class ContainerdUnknown(RuntimedError):
    """The containers of the containerd at ``address`` cannot be listed."""

    code = "containerd-unknown"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"containerd at {address}: {reason}")
        self.address = address
        self.reason = reason


class UndecodableMessage(RuntimedError):
    """Bytes from containerd are not a valid ``message``."""

    code = "undecodable-answer"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(f"undecodable {message}: {reason}")
        self.message = message
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Container:
    """A container in containerd's metadata, with a task or without; or a sandbox, in which others run."""

    namespace: str
    id: str
    # The name or the path of the shim.
    runtime_name: str
    # The options of the shim, both empty for none.
    type_url: str
    value: bytes
    is_sandbox: bool = False


_MESSAGES: Mapping[str, Fields] = {
    # google.protobuf.Any under another name, which needs no other file in the pool.
    "Any": ((1, "type_url", "string"), (2, "value", "bytes")),
    "Namespace": ((1, "name", "string"),),
    "ListNamespacesResponse": ((1, "namespaces", ["Namespace"]),),
    "Runtime": ((1, "name", "string"), (2, "options", "Any")),
    "Container": ((1, "id", "string"), (4, "runtime", "Runtime"), (5, "spec", "Any")),
    # Both CreateContainerRequest and ListContainerMessage.
    "ContainerMessage": ((1, "container", "Container"),),
    # Its Runtime is a message inside of Sandbox, with the fields of a container's.
    "Sandbox": ((1, "sandbox_id", "string"), (2, "runtime", "Runtime")),
    "StoreListResponse": ((1, "list", ["Sandbox"]),),
    # The options of containerd 1's io.containerd.runtime.v1.linux.
    "RuncOptions": ((1, "runtime", "string"),),
}


def new_message(name: str) -> Any:
    """Return a new, empty message of the kind ``name``, a key of the table above."""
    return _message_classes()[name]()


def decode_namespaces(data: bytes) -> tuple[str, ...]:
    """Return the names in ``data``, a ListNamespacesResponse.

    Raises:
        UndecodableMessage: ``data`` is not such a message.
    """
    return tuple(namespace.name for namespace in _decode("ListNamespacesResponse", data).namespaces)


def decode_container(namespace: str, data: bytes) -> Container:
    """Return the container in ``data``, a ListContainerMessage for ``namespace``.

    Raises:
        UndecodableMessage: ``data`` is not such a message, or the container has no id.
    """
    found = _decode("ContainerMessage", data).container
    if not found.id:
        raise UndecodableMessage("ContainerMessage", "a container without an id")
    options = found.runtime.options
    return Container(namespace, found.id, found.runtime.name, options.type_url, options.value)


def decode_sandboxes(namespace: str, data: bytes) -> tuple[Container, ...]:
    """Return the sandboxes in ``data``, a StoreListResponse for ``namespace``.

    Raises:
        UndecodableMessage: ``data`` is not such a message, or a sandbox has no id.
    """
    found = _decode("StoreListResponse", data).list
    if not all(sandbox.sandbox_id for sandbox in found):
        raise UndecodableMessage("StoreListResponse", "a sandbox without an id")
    return tuple(
        Container(
            namespace,
            sandbox.sandbox_id,
            sandbox.runtime.name,
            sandbox.runtime.options.type_url,
            sandbox.runtime.options.value,
            is_sandbox=True,
        )
        for sandbox in found
    )


def decode_linux_runtime(value: bytes) -> str:
    """Return the binary in ``value``, a ``containerd.linux.runc.RuncOptions``, "" for none.

    Raises:
        UndecodableMessage: ``value`` is not such a message.
    """
    return str(_decode("RuncOptions", value).runtime)


def _decode(name: str, data: bytes) -> Any:
    try:
        return parse_message(_message_classes()[name], data)
    except ValueError as error:
        raise UndecodableMessage(name, str(error)) from error


@cache
def _message_classes() -> Mapping[str, Any]:
    return message_classes("runtimed.containerd", _MESSAGES)
