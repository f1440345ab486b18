"""Runs the container of a test through containerd's API: the container, its task, the output by a FIFO."""

from __future__ import annotations

import contextlib
import os
from threading import Event
from typing import TYPE_CHECKING

from runtimed.core.containerd.api import LIST_NAMESPACES, ContainerdUnknown
from runtimed.core.containerd.tasks import (
    CREATE_CONTAINER,
    CREATE_TASK,
    DELETE_CONTAINER,
    DELETE_TASK,
    KILL_TASK,
    START_TASK,
    WAIT_TASK,
    CallFailed,
    decode_exit_status,
    describe_failure,
    encode_container,
    encode_id,
    encode_kill,
    encode_task,
)
from runtimed.core.errors import TestFailed, TestInterrupted
from runtimed.host.proof.containerd import Containerd

if TYPE_CHECKING:
    from runtimed.core.proof.engine import Step
    from runtimed.host.proof.bundle import Bundle

# The name of the FIFO in the bundle, which is made before the container.
FIFO = "stdout"
_OUTPUT_BYTES = 64 * 1024
# Time for each call after a failure.
_ABORT_S = 2.0


class Tasks:
    """A `runtimed.core.proof.engine.Engine` that runs the container of ``bundle`` by the API of a containerd.

    ``address`` is containerd's socket; ``options`` are the type_url and the value of the options of ``shim``, None for
    none. Each call takes at most ``timeout_s``. ``stopped`` is set to interrupt the test. The namespace is named like
    the container, so that all traces of the test have this name.
    """

    def __init__(
        self,
        bundle: Bundle,
        shim: str,
        options: tuple[str, bytes] | None,
        address: str,
        timeout_s: float,
        stopped: Event,
    ) -> None:
        self._bundle = bundle
        self._shim = shim
        self._options = options
        self._address = address
        self._timeout_s = timeout_s
        self._stopped = stopped
        self._fifo = f"{bundle.path}/{FIFO}"
        self._stack = contextlib.ExitStack()
        self._api = Containerd(address, bundle.id)
        self._stack.callback(self._api.close)
        self._reader = -1
        self._output = bytearray()

    @property
    def output(self) -> bytes:
        """The first bytes that the container's process has written to its stdout and stderr."""
        return bytes(self._output)

    def create(self) -> None:
        """Create the container and its task."""
        # The test ends here, and without a trace, if containerd does not answer.
        self._call("create", LIST_NAMESPACES, b"")
        os.mkfifo(self._fifo, 0o600)
        # The shim waits for this end when it opens the other one.
        self._reader = os.open(self._fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._stack.callback(os.close, self._reader)
        config, root = self._bundle.config, self._bundle.config["root"]["path"]
        self._call("create", CREATE_CONTAINER, encode_container(self._bundle.id, self._shim, self._options, config))
        self._call("create", CREATE_TASK, encode_task(self._bundle.id, root, self._fifo))

    def start(self) -> None:
        """Start the task."""
        self._call("start", START_TASK, encode_id(self._bundle.id))

    def wait(self) -> int:
        """Wait for the end of the task; return its exit status."""
        data = self._call("wait", WAIT_TASK, encode_id(self._bundle.id))
        try:
            return decode_exit_status(data)
        except ValueError as error:
            raise TestFailed("wait", f"containerd sent no exit status: {error}") from error

    def delete(self) -> None:
        """Delete the task and the container. The output is complete after that."""
        self._call("delete", DELETE_TASK, encode_id(self._bundle.id))
        self._call("delete", DELETE_CONTAINER, encode_id(self._bundle.id))
        self._read_output()
        self._stack.close()

    def abort(self) -> None:
        """Kill the task, and delete it and the container."""
        identifier = encode_id(self._bundle.id)
        calls = (
            (KILL_TASK, encode_kill(self._bundle.id)),
            *((method, identifier) for method in (WAIT_TASK, DELETE_TASK, DELETE_CONTAINER)),
        )
        for method, request in calls:
            with contextlib.suppress(CallFailed, ContainerdUnknown):
                self._api.call(method, request, _ABORT_S)
        self._read_output()
        self._stack.close()

    def _call(self, step: Step, method: str, request: bytes) -> bytes:
        try:
            return self._api.call(method, request, self._timeout_s, self._while_waiting)
        except ContainerdUnknown as error:
            raise TestFailed(step, str(error)) from error
        except CallFailed as failure:
            reason = describe_failure(failure, method, self._shim, self._address, self._timeout_s)
            raise TestFailed(step, reason) from failure

    def _while_waiting(self) -> None:
        self._read_output()
        if self._stopped.is_set():
            raise TestInterrupted

    def _read_output(self) -> None:
        """Read the output of the container so far, so that it never waits for a reader."""
        with contextlib.suppress(BlockingIOError):
            while self._reader >= 0 and (chunk := os.read(self._reader, _OUTPUT_BYTES)):
                self._output += chunk[: max(0, _OUTPUT_BYTES - len(self._output))]
