"""Lists the containers and sandboxes of a containerd over its API. Needs the extra ``containerd`` (grpcio)."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from runtimed.core.containerd.api import (
    LIST_CONTAINERS,
    LIST_NAMESPACES,
    LIST_SANDBOXES,
    NAMESPACE_HEADER,
    Container,
    ContainerdUnknown,
    UndecodableMessage,
    decode_container,
    decode_namespaces,
    decode_sandboxes,
)

_OPTIONS = (
    # containerd sends at most 16 MiB in a message unless it is configured to send more.
    ("grpc.max_receive_message_length", 64 * 2**20),
    # A proxy in the environment is not for Unix sockets, and calls must not share channels.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


def list_containers(address: str, timeout_s: float) -> list[Container]:
    """Return every container, with a task or without, and every sandbox in every namespace of a containerd.

    ``address`` is the path of its API socket. Blocks for ``timeout_s`` at most, in all, once the path is looked up.

    Raises:
        ContainerdUnknown: the list is not available or not complete.
    """
    try:
        # Only the collection of wrappers needs it, and it costs 25 MB and 0.1 s.
        import grpc  # noqa: PLC0415
    except ImportError as error:
        reason = "its containers can only be listed with grpcio: pip install 'runtimed[containerd]'"
        raise ContainerdUnknown(address, reason) from error
    _check_owner(address)
    deadline_s = time.monotonic() + timeout_s
    try:
        # grpc takes a URI, in which a '%' of the path would begin an escape.
        with grpc.insecure_channel(f"unix://{quote(os.path.abspath(address))}", options=_OPTIONS) as channel:
            return list(_containers(channel, deadline_s))
    except grpc.RpcError as error:
        raise ContainerdUnknown(address, f"{error.code().name.lower()}: {error.details()}") from error
    except UndecodableMessage as error:
        raise ContainerdUnknown(address, str(error)) from error


def _containers(channel: Any, deadline_s: float) -> Iterator[Container]:
    # Messages are decoded here and not by grpc, which would only log an error in the decoding.
    namespaces = channel.unary_unary(LIST_NAMESPACES)(b"", timeout=_remaining_s(deadline_s))
    list_all = channel.unary_stream(LIST_CONTAINERS)
    for namespace in decode_namespaces(namespaces):
        header = ((NAMESPACE_HEADER, namespace),)
        for data in list_all(b"", timeout=_remaining_s(deadline_s), metadata=header):
            yield decode_container(namespace, data)
        yield from _sandboxes(channel, namespace, deadline_s)


def _sandboxes(channel: Any, namespace: str, deadline_s: float) -> tuple[Container, ...]:
    import grpc  # noqa: PLC0415 - see above

    header = ((NAMESPACE_HEADER, namespace),)
    try:
        data = channel.unary_unary(LIST_SANDBOXES)(b"", timeout=_remaining_s(deadline_s), metadata=header)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return ()  # containerd 1.6
        raise
    return decode_sandboxes(namespace, data)


def _remaining_s(deadline_s: float) -> float:
    return max(deadline_s - time.monotonic(), 0.001)


def _check_owner(address: str) -> None:
    # grpc does not report the peer's uid. Only root or the daemon's user may own the socket; the directory above it
    # decides who can replace it, and that directory belongs to containerd and root.
    try:
        status = os.stat(address)
    except FileNotFoundError as error:
        raise ContainerdUnknown(
            address, "its socket does not exist: it is not running, or has another address"
        ) from error
    except OSError as error:
        raise ContainerdUnknown(address, error.strerror or str(error)) from error
    if not stat.S_ISSOCK(status.st_mode):
        raise ContainerdUnknown(address, "is not a socket")
    if status.st_uid not in (0, os.geteuid()):
        raise ContainerdUnknown(address, f"the socket belongs to user {status.st_uid}, who is not root")
