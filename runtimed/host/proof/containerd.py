"""Calls containerd's API for one namespace. Needs the extra ``containerd`` (grpcio)."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from runtimed.core.containerd.api import NAMESPACE_HEADER, ContainerdUnknown
from runtimed.core.containerd.tasks import CallFailed

_OPTIONS = (
    # A proxy in the environment is not for Unix sockets, and calls must not share channels.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
# Interval between calls of `while_waiting`.
_WAITING_INTERVAL_S = 0.05


class Containerd:
    """The API of the containerd at the socket ``address``, for ``namespace``. The first call opens it."""

    def __init__(self, address: str, namespace: str) -> None:
        self.address = address
        self._header = ((NAMESPACE_HEADER, namespace),)
        self._channel: Any = None

    def call(
        self, method: str, request: bytes, timeout_s: float, while_waiting: Callable[[], object] = lambda: None
    ) -> bytes:
        """Return the response to ``request``; call ``while_waiting`` again and again until it comes.

        Raises:
            ContainerdUnknown: grpcio is not installed, or the socket is missing or belongs to another user.
            CallFailed: containerd returns an error, ends, or does not respond within ``timeout_s``.
        """
        try:
            # It costs 25 MB and 0.1 s.
            import grpc  # noqa: PLC0415
        except ImportError as error:
            reason = "a test through it needs grpcio: pip install 'runtimed[containerd]', or apt install python3-grpcio"
            raise ContainerdUnknown(self.address, reason) from error
        if self._channel is None:
            _check_socket(self.address)
            # grpc takes a URI, in which a '%' of the path would begin an escape.
            target = f"unix://{quote(os.path.abspath(self.address))}"
            self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        # Without a time-out of grpc: containerd would see it first at times, and return any error.
        future = self._channel.unary_unary(method).future(request, metadata=self._header)
        deadline_s = time.monotonic() + timeout_s
        try:
            while (left_s := deadline_s - time.monotonic()) > 0:
                while_waiting()
                with contextlib.suppress(grpc.FutureTimeoutError):
                    return bytes(future.result(min(left_s, _WAITING_INTERVAL_S)))
        except grpc.RpcError as error:
            raise CallFailed(error.code().name.lower(), error.details() or "") from error
        finally:
            # containerd stops its work for this call.
            future.cancel()
        raise CallFailed("deadline_exceeded", "")

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _check_socket(address: str) -> None:
    # grpc does not report the peer's uid, and the server of another user could run anything.
    try:
        status = os.stat(address)
    except FileNotFoundError as error:
        raise ContainerdUnknown(address, "its socket does not exist, so it is not running") from error
    except OSError as error:
        raise ContainerdUnknown(address, error.strerror or str(error)) from error
    if not stat.S_ISSOCK(status.st_mode):
        raise ContainerdUnknown(address, "is not a socket")
    if status.st_uid not in (0, os.geteuid()):
        raise ContainerdUnknown(address, f"the socket belongs to user {status.st_uid}, who is not root")
