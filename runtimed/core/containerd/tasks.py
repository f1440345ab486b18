"""Encodes the requests of containerd's API that run and remove one container, decodes the responses, words the errors.

Field numbers are those of containerd's ``api/services/containers/v1/containers.proto``,
``api/services/tasks/v1/tasks.proto``, ``api/services/namespaces/v1/namespace.proto`` and ``api/types/mount.proto``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from runtimed.core.containerd.names import shim_binary_name
from runtimed.core.containerd.protobuf import Fields, message_classes, parse_message
from runtimed.core.message_text import printable

CREATE_CONTAINER = "/containerd.services.containers.v1.Containers/Create"
GET_CONTAINER = "/containerd.services.containers.v1.Containers/Get"
DELETE_CONTAINER = "/containerd.services.containers.v1.Containers/Delete"
CREATE_TASK = "/containerd.services.tasks.v1.Tasks/Create"
START_TASK = "/containerd.services.tasks.v1.Tasks/Start"
WAIT_TASK = "/containerd.services.tasks.v1.Tasks/Wait"
KILL_TASK = "/containerd.services.tasks.v1.Tasks/Kill"
GET_TASK = "/containerd.services.tasks.v1.Tasks/Get"
DELETE_TASK = "/containerd.services.tasks.v1.Tasks/Delete"
DELETE_NAMESPACE = "/containerd.services.namespaces.v1.Namespaces/Delete"
# The name of an OCI specification, which is JSON in an Any.
_SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
# The directory in the shim's bundle on which the shim mounts a container's root file system.
_ROOT = "rootfs"
_SIGKILL = 9
_ERROR_MAX = 1000

# Words of containerd and its shim before the error of a runtime.
_FRAME = re.compile(
    r"^(failed to (create shim task|start shim|create task): |OCI runtime create failed: |start failed: "
    r"|unable to retrieve OCI runtime error \(.*?\): )+"
)
# Patterns of the error of a call (code: details), and the reason that each means.
_REASONS = (
    # Depends on what containerd was doing when the shim ended. containerd 2.1 removes the bundle as soon as it notices,
    # perhaps while it writes bootstrap.json there.
    (
        re.compile(
            "ttrpc: closed|unix .*(connection reset by peer|broken pipe)|dial unix .*connection refused"
            r"|failed to write bootstrap\.json: .*: no such file or directory"
        ),
        "the shim {shim} ended before it responded",
    ),
    (re.compile("^unavailable: "), "containerd at {address} is not running, or it has ended"),
    (re.compile("^deadline_exceeded: |context deadline exceeded"), "{late} within {seconds}"),
    (
        re.compile("binary not installed|invalid custom binary path: stat [^:]*: no such file"),
        "containerd finds no shim {binary}; install it in a directory of containerd's PATH",
    ),
    (re.compile("start failed: : (exit status [0-9]+)"), "the shim {shim} ended with {0} and no message"),
    (
        re.compile("failed to retrieve OCI runtime container pid"),
        "the runtime ended with exit status 0 and made no container: it wrote no process id",
    ),
)

_MESSAGES: Mapping[str, Fields] = {
    "Any": ((1, "type_url", "string"), (2, "value", "bytes")),
    "Runtime": ((1, "name", "string"), (2, "options", "Any")),
    "Container": ((1, "id", "string"), (4, "runtime", "Runtime"), (5, "spec", "Any")),
    "CreateContainerRequest": ((1, "container", "Container"),),
    "Mount": ((1, "type", "string"), (2, "source", "string"), (4, "options", ["string"])),
    "CreateTaskRequest": (
        (1, "container_id", "string"),
        (3, "rootfs", ["Mount"]),
        (5, "stdout", "string"),
        (6, "stderr", "string"),
    ),
    "KillRequest": ((1, "container_id", "string"), (3, "signal", "uint32"), (4, "all", "bool")),
    # Each request that has an id only: the name of a namespace, a container's id.
    "IdRequest": ((1, "id", "string"),),
    "WaitResponse": ((1, "exit_status", "uint32"),),
}


def encode_container(
    identifier: str, shim: str, options: tuple[str, bytes] | None, config: Mapping[str, object]
) -> bytes:
    """Return the request that creates the container ``identifier`` of ``shim``, the name or the path of one.

    ``options`` are the ``type_url`` and ``value`` of the shim's options, None for none. ``config`` is an OCI
    config.json; its root file system becomes the one that the shim mounts.
    """
    request = _message_classes()["CreateContainerRequest"]()
    container = request.container
    container.id, container.runtime.name = identifier, shim
    if options is not None:
        container.runtime.options.type_url, container.runtime.options.value = options
    root = {"path": _ROOT, "readonly": True}
    container.spec.type_url, container.spec.value = _SPEC, json.dumps({**config, "root": root}).encode()
    return bytes(request.SerializeToString())


def encode_task(identifier: str, root: str, fifo: str) -> bytes:
    """Return the request that creates a container's task with the root file system ``root`` and output to ``fifo``.

    containerd passes the options of the container to the shim where those of the task are missing. The root file
    system is a mount, as with an image: shims of virtual machines need not support another one.
    """
    request = _message_classes()["CreateTaskRequest"](container_id=identifier, stdout=fifo, stderr=fifo)
    request.rootfs.add(type="bind", source=root, options=["rbind", "ro"])
    return bytes(request.SerializeToString())


def encode_id(identifier: str) -> bytes:
    """Return a request that has an id only: to start, delete, or wait for a task, for instance."""
    return bytes(_message_classes()["IdRequest"](id=identifier).SerializeToString())


def encode_kill(identifier: str) -> bytes:
    """Return the request that sends SIGKILL to all processes of a task."""
    request = _message_classes()["KillRequest"](container_id=identifier, signal=_SIGKILL, all=True)
    return bytes(request.SerializeToString())


def decode_exit_status(data: bytes) -> int:
    """Return the exit status in ``data``, a WaitResponse. Raises: ValueError: it is not such a message."""
    return int(parse_message(_message_classes()["WaitResponse"], data).exit_status)


@dataclass(frozen=True, slots=True)
class CallFailed(Exception):
    """A call of containerd's API failed with ``code``, the name of a gRPC status in small letters."""

    code: str
    details: str


def describe_failure(failure: CallFailed, method: str, shim: str, address: str, timeout_s: float) -> str:
    """Return why a call of ``method`` failed for a container of ``shim``; it had at most ``timeout_s``."""
    details = printable(failure.details[:_ERROR_MAX])
    words = {
        "shim": shim,
        "binary": shim_binary_name(shim),
        "address": address,
        "late": "the container's process did not end" if method == WAIT_TASK else f"the shim {shim} did not respond",
        "seconds": f"{timeout_s:g} s",
    }
    for pattern, reason in _REASONS:
        if found := pattern.search(f"{failure.code}: {details}"):
            return reason.format(*found.groups(), **words)
    return _FRAME.sub("", details).removesuffix(": unknown") or failure.code


@cache
def _message_classes() -> Mapping[str, Any]:
    return message_classes("runtimed.tasks", _MESSAGES)
