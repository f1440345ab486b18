"""The messages of containerd's API that run a container, and the reasons for calls that fail."""

from __future__ import annotations

import json

import pytest

from runtimed.core.containerd.api import new_message
from runtimed.core.containerd.tasks import (
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

SHIM = "io.containerd.demo.v1"
NO_LOG = "unable to retrieve OCI runtime error (open /b/log.json: no such file or directory)"
NO_BUNDLE = "failed to rename /b/.temp: rename /b/.temp /b/bootstrap.json: no such file or directory"
INIT_PID = "open /b/init.pid: no such file or directory: unknown"


def test_a_container_has_the_options_as_they_were_resolved_and_the_root_that_the_shim_mounts() -> None:
    options = ("runtimeoptions.v1.Options", b"\x12\x02/x\xff\x00")
    config = {"process": {"args": ["/bin/sh"]}, "root": {"path": "/run/b/rootfs"}}
    # Another table decodes it.
    message = new_message("ContainerMessage")
    message.ParseFromString(encode_container("c1", SHIM, options, config))
    found = message.container
    assert (found.id, found.runtime.name) == ("c1", SHIM)
    assert (found.runtime.options.type_url, found.runtime.options.value) == options
    assert found.spec.type_url == "types.containerd.io/opencontainers/runtime-spec/1/Spec"
    assert json.loads(found.spec.value) == {**config, "root": {"path": "rootfs", "readonly": True}}


def test_a_container_without_options_has_no_options_message() -> None:
    message = new_message("ContainerMessage")
    message.ParseFromString(encode_container("c1", SHIM, None, {}))
    assert not message.container.runtime.HasField("options")


def test_requests_are_the_bytes_of_containerds_messages() -> None:
    assert encode_id("ab") == b"\x0a\x02ab"
    assert encode_kill("ab") == b"\x0a\x02ab\x18\x09\x20\x01"
    mount = b"\x0a\x04bind\x12\x02/r\x22\x05rbind\x22\x02ro"
    assert encode_task("ab", "/r", "/f") == b"\x0a\x02ab\x1a" + bytes([len(mount)]) + mount + b"\x2a\x02/f\x32\x02/f"


@pytest.mark.parametrize(("data", "status"), [(b"", 0), (b"\x08\x2a", 42), (b"\x08\x89\x01\x12\x02\x08\x01", 137)])
def test_an_exit_status_is_decoded_also_beside_fields_that_are_not_needed(data: bytes, status: int) -> None:
    assert decode_exit_status(data) == status


def test_bytes_that_are_no_message_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_exit_status(b"\x08")


@pytest.mark.parametrize(
    ("code", "details", "reason"),
    [
        ("unavailable", "connection refused", "containerd at /c.sock is not running, or it has ended"),
        ("deadline_exceeded", "Deadline Exceeded", f"the shim {SHIM} did not respond within 2.5 s"),
        ("unknown", "failed: context deadline exceeded: unknown", f"the shim {SHIM} did not respond within 2.5 s"),
        (
            "invalid_argument",
            'failed to resolve runtime path: runtime "x" binary not installed "y": file does not exist',
            "containerd finds no shim containerd-shim-demo-v1; install it in a directory of containerd's PATH",
        ),
        ("unavailable", "ttrpc: closed", f"the shim {SHIM} ended before it responded"),
        ("unknown", "ttrpc: closed: unknown", f"the shim {SHIM} ended before it responded"),
        ("unknown", "write unix @->/s: write: broken pipe", f"the shim {SHIM} ended before it responded"),
        ("unknown", "read unix @->/s: read: connection reset by peer", f"the shim {SHIM} ended before it responded"),
        ("not_found", f"failed to write bootstrap.json: {NO_BUNDLE}", f"the shim {SHIM} ended before it responded"),
        (
            "unknown",
            "failed to start shim: start failed: : exit status 3: unknown",
            f"the shim {SHIM} ended with exit status 3 and no message",
        ),
        (
            "unknown",
            f"failed to create shim task: failed to retrieve OCI runtime container pid: {INIT_PID}",
            "the runtime ended with exit status 0 and made no container: it wrote no process id",
        ),
        (
            "unknown",
            f"failed to create shim task: OCI runtime create failed: {NO_LOG}: exec /x: exec format error: unknown",
            "exec /x: exec format error",
        ),
        ("internal", "", "internal"),
        ("unknown", "two\nlines\x1b[1m", r"two\nlines\x1b[1m"),
    ],
)
def test_a_failed_call_has_a_plain_reason(code: str, details: str, reason: str) -> None:
    assert describe_failure(CallFailed(code, details), START_TASK, SHIM, "/c.sock", 2.5) == reason


def test_a_container_that_does_not_end_is_told_from_a_shim_that_does_not_respond() -> None:
    failure = CallFailed("deadline_exceeded", "Deadline Exceeded")
    assert describe_failure(failure, WAIT_TASK, SHIM, "/c", 30) == "the container's process did not end within 30 s"
