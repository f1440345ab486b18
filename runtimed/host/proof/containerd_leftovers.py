"""Lists and removes the leftovers of a test in containerd: the container, its task, directories, and the namespace."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial

from runtimed.core.config import Engine
from runtimed.core.containerd.api import LIST_NAMESPACES, ContainerdUnknown, UndecodableMessage, decode_namespaces
from runtimed.core.containerd.tasks import (
    DELETE_CONTAINER,
    DELETE_NAMESPACE,
    DELETE_TASK,
    GET_CONTAINER,
    GET_TASK,
    KILL_TASK,
    CallFailed,
    encode_id,
    encode_kill,
)
from runtimed.core.proof.bundle import ID
from runtimed.core.proof.engine import LeftoverKind, Traces
from runtimed.host.proof.containerd import Containerd
from runtimed.host.proof.found import Found
from runtimed.host.proof.tasks import FIFO

# Below containerd's state directory (bundles) and below its root directory. The second is that of containerd 1's first
# shim.
_TASKS = ("io.containerd.runtime.v2.task", "io.containerd.runtime.v1.linux")
# Sockets of shims are always here, named by a digest of containerd's socket, the namespace and the id.
_SOCKETS = "/run/containerd/s"
_CALL_S = 2.0
# Kind, the call that says whether it exists, the calls that remove it.
_KINDS: Sequence[tuple[LeftoverKind, str, Sequence[str]]] = (
    ("task", GET_TASK, (KILL_TASK, DELETE_TASK)),
    ("container", GET_CONTAINER, (DELETE_CONTAINER,)),
)


class ContainerdLeftovers:
    """The leftovers of the test of ``traces`` in its containerd; none where the engine was another one."""

    def __init__(self, traces: Traces) -> None:
        self._id = traces.id
        self._traces = traces
        self._api = Containerd(traces.containerd, traces.id)
        # In a bundle without the FIFO no container was created.
        may_exist = os.path.lexists(f"{traces.bundle}/{FIFO}") or not os.path.lexists(traces.bundle)
        self._is_used = bool(traces.containerd) and may_exist
        # Whether containerd says whether the container exists.
        self.is_known = True

    def close(self) -> None:
        """Close the connection."""
        self._api.close()

    @property
    def directories(self) -> Sequence[str]:
        """The directories that containerd makes for the namespace of the test."""
        parents = filter(None, (self._traces.containerd_state, self._traces.containerd_root))
        return [f"{parent}/{tasks}/{self._id}" for parent in parents for tasks in _TASKS]

    @property
    def sockets(self) -> Sequence[str]:
        """The socket of the shim."""
        if not self._traces.containerd:
            return ()
        name = os.path.normpath(f"{self._traces.containerd}/{self._id}/{self._id}")
        return (f"{_SOCKETS}/{hashlib.sha256(name.encode()).hexdigest()}",)

    def find(self) -> Iterator[Found]:
        """Yield the task and the container; only one with the reason where they are unknown."""
        if not self._is_used:
            return
        try:
            for kind, look, removal in _KINDS:
                if self._exists(look):
                    yield Found(kind, self._id, partial(self._call_all, removal), is_alive=True)
            self.is_known = True
        except (CallFailed, ContainerdUnknown):
            self.is_known = False
            name = f"{self._id}: unknown, because containerd at {self._traces.containerd} does not answer"
            yield Found("container", name, lambda: None, is_removable=False)

    def remove_namespace(self) -> None:
        """Remove the namespace, which has no container any more."""
        if self._is_used:
            self._call_all((DELETE_NAMESPACE,))

    def _exists(self, method: str) -> bool:
        try:
            self._call(method)
        except CallFailed as failure:
            if failure.code == "unavailable":
                raise
            # Any other error: its shim hangs or does not answer.
            return failure.code != "not_found"
        return True

    def _call_all(self, methods: Sequence[str]) -> None:
        for method in methods:
            with contextlib.suppress(CallFailed, ContainerdUnknown):
                self._call(method)

    def _call(self, method: str) -> None:
        self._api.call(method, encode_kill(self._id) if method == KILL_TASK else encode_id(self._id), _CALL_S)


def abandoned_namespaces(containerd: Engine, directory: str) -> Iterator[Traces]:
    """Yield the tests with a namespace in ``containerd`` and without a bundle in ``directory``.

    They are those before the last boot, because containerd keeps its containers. A test that runs has its bundle longer
    than its namespace.
    """
    with contextlib.closing(Containerd(containerd.address, "")) as api:
        try:
            names = decode_namespaces(api.call(LIST_NAMESPACES, b"", _CALL_S))
        except (CallFailed, ContainerdUnknown, UndecodableMessage):
            return
    for name in filter(ID.fullmatch, names):
        bundle = f"{directory}/{name}"
        if not os.path.lexists(bundle):
            more = {"containerd_state": containerd.state, "containerd_root": containerd.known_root or ""}
            yield Traces(name, bundle, containerd=containerd.address, **more)
