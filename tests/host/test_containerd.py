"""The list of containers from containerd's API, with peers that misbehave. tests/e2e uses a real containerd."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness.daemon import PATIENCE_S, short_directory, wait_until

from runtimed.core.containerd.api import (
    LIST_CONTAINERS,
    LIST_NAMESPACES,
    LIST_SANDBOXES,
    Container,
    ContainerdUnknown,
    new_message,
)
from runtimed.host.containerd import list_containers

ONE_NAMESPACE = b"\x0a\x09\x0a\x07default"


@pytest.fixture
def socket_path() -> Iterator[str]:
    with short_directory() as root:
        yield str(root / "c.sock")


@contextlib.contextmanager
def peer(
    address: str,
    namespaces: bytes,
    containers: Callable[[str], Iterator[bytes]] | None,
    sandboxes: Callable[[str], bytes] | None = None,
) -> Iterator[None]:
    """A gRPC server that answers with these bytes; without the methods of those functions that are None."""

    def stream(_request: bytes, context: Any) -> Iterator[bytes]:
        assert containers is not None
        yield from containers(dict(context.invocation_metadata())["containerd-namespace"])

    def list_sandboxes(_request: bytes, context: Any) -> bytes:
        assert sandboxes is not None
        return sandboxes(dict(context.invocation_metadata())["containerd-namespace"])

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            if call.method == LIST_NAMESPACES:
                return grpc.unary_unary_rpc_method_handler(lambda _request, _context: namespaces)
            if call.method == LIST_CONTAINERS and containers is not None:
                return grpc.unary_stream_rpc_method_handler(stream)
            if call.method == LIST_SANDBOXES and sandboxes is not None:
                return grpc.unary_unary_rpc_method_handler(list_sandboxes)
            return None

    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=[("grpc.max_send_message_length", -1)])
        server.add_generic_rpc_handlers((Handler(),))
        server.add_insecure_port(f"unix:{address}")
        server.start()
        try:
            yield
        finally:
            server.stop(None).wait()


def message(identifier: str, padding: int = 0) -> bytes:
    found = new_message("ContainerMessage")
    found.container.id = identifier
    found.container.spec.value = b"x" * padding
    return bytes(found.SerializeToString())


def reason(address: str, timeout_s: float = PATIENCE_S) -> str:
    with pytest.raises(ContainerdUnknown) as caught:
        list_containers(address, timeout_s)
    assert caught.value.code == "containerd-unknown"
    assert str(caught.value).startswith(f"containerd at {address}: ")
    return caught.value.reason


def test_without_grpcio_the_error_names_the_extra(socket_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    assert "pip install 'runtimed[containerd]'" in reason(socket_path)


def test_a_containerd_that_is_not_running_is_reported(socket_path: str) -> None:
    assert "not running" in reason(socket_path)
    # A killed containerd leaves its socket.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(socket_path)
    assert reason(socket_path).startswith("unavailable: ")


def test_a_file_that_is_not_a_socket_is_refused(socket_path: str) -> None:
    Path(socket_path).write_text("")
    assert reason(socket_path) == "is not a socket"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_socket_of_another_user_is_refused(socket_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as fake:
        fake.bind(socket_path)
        os.chown(socket_path, 65534, 65534)
        assert reason(socket_path) == "the socket belongs to user 65534, who is not root"


def test_a_peer_that_never_answers_times_out(socket_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(socket_path)
        silent.listen()
        assert reason(socket_path, 0.3).startswith(("deadline_exceeded: ", "unavailable: "))


def test_a_peer_that_sends_slowly_without_end_times_out(socket_path: str) -> None:
    def endless(_namespace: str) -> Iterator[bytes]:
        for number in range(1_000):
            time.sleep(0.01)
            yield message(str(number))

    with peer(socket_path, ONE_NAMESPACE, endless):
        # Without a limit on the whole it would be the list of a thousand.
        assert reason(socket_path, 0.3).startswith(("deadline_exceeded: ", "unavailable: "))


@pytest.mark.parametrize("namespaces", [b"\xff", ONE_NAMESPACE])
def test_an_undecodable_answer_is_an_error(socket_path: str, namespaces: bytes) -> None:
    with peer(socket_path, namespaces, lambda _namespace: iter([message("a"), b"\xff"])):
        assert "undecodable" in reason(socket_path)


def test_a_containerd_too_old_for_the_call_is_an_error(socket_path: str) -> None:
    with peer(socket_path, ONE_NAMESPACE, None):
        assert reason(socket_path).startswith("unimplemented: ")


def test_a_stream_that_breaks_off_is_an_error_and_not_a_shorter_list(socket_path: str) -> None:
    def broken(_namespace: str) -> Iterator[bytes]:
        yield message("a")
        raise OSError("gone")

    with peer(socket_path, ONE_NAMESPACE, broken):
        assert reason(socket_path).startswith("unknown: ")


def test_containers_of_every_namespace_and_large_ones_are_listed(socket_path: str) -> None:
    def two(namespace: str) -> Iterator[bytes]:
        yield message(f"{namespace}-small")
        yield message(f"{namespace}-large", 16 * 2**20)

    with peer(socket_path, ONE_NAMESPACE + b"\x0a\x06\x0a\x04moby", two):
        found = [(container.namespace, container.id) for container in list_containers(socket_path, PATIENCE_S)]
    assert found == [(name, f"{name}-{size}") for name in ("default", "moby") for size in ("small", "large")]


def sandbox_list(*identifiers: str) -> bytes:
    found = new_message("StoreListResponse")
    for identifier in identifiers:
        sandbox = found.list.add(sandbox_id=identifier)
        sandbox.runtime.name = "io.containerd.runc.v2"
        sandbox.runtime.options.type_url = "containerd.runc.v1.Options"
        sandbox.runtime.options.value = b"2\x04/x/y"
    return bytes(found.SerializeToString())


def test_sandboxes_of_every_namespace_are_listed_after_its_containers(socket_path: str) -> None:
    namespaces = ONE_NAMESPACE + b"\x0a\x06\x0a\x04moby"
    with peer(socket_path, namespaces, lambda name: iter([message("a")]), lambda name: sandbox_list(f"{name}-s")):
        found = list_containers(socket_path, PATIENCE_S)
    assert [(one.namespace, one.id, one.is_sandbox) for one in found] == [
        (name, *more) for name in ("default", "moby") for more in (("a", False), (f"{name}-s", True))
    ]
    options = ("io.containerd.runc.v2", "containerd.runc.v1.Options", b"2\x04/x/y")
    assert found[1] == Container("default", "default-s", *options, is_sandbox=True)


def test_a_containerd_without_sandboxes_has_none(socket_path: str) -> None:
    with peer(socket_path, ONE_NAMESPACE, lambda _namespace: iter([message("a")])):
        assert [one.id for one in list_containers(socket_path, PATIENCE_S)] == ["a"]


@pytest.mark.parametrize("answer", [b"\xff", sandbox_list("a", "")])
def test_an_undecodable_list_of_sandboxes_is_an_error(socket_path: str, answer: bytes) -> None:
    with peer(socket_path, ONE_NAMESPACE, lambda _namespace: iter([]), lambda _namespace: answer):
        assert "undecodable StoreListResponse" in reason(socket_path)


def test_a_list_of_sandboxes_that_fails_is_an_error(socket_path: str) -> None:
    def fail(_namespace: str) -> bytes:
        raise OSError("gone")

    with peer(socket_path, ONE_NAMESPACE, lambda _namespace: iter([]), fail):
        assert reason(socket_path).startswith("unknown: ")


def test_a_path_with_special_characters_of_uris_is_taken_literally() -> None:
    with short_directory() as root, peer(f"{root}/c.sock", ONE_NAMESPACE, lambda _namespace: iter([message("a")])):
        strange = root / "a%41 ?#é"
        strange.symlink_to(root)
        assert [container.id for container in list_containers(f"{strange}/c.sock", PATIENCE_S)] == ["a"]


def running() -> int:
    """Return the number of threads, without those of the peer's pool."""
    return sum(not thread.name.startswith("ThreadPool") for thread in threading.enumerate())


def test_no_descriptor_or_thread_remains_after_an_answer_or_an_error(socket_path: str) -> None:
    with peer(socket_path, ONE_NAMESPACE, lambda _namespace: iter([message("a")])):
        for _ in range(3):  # so that grpc has opened the descriptors that it keeps
            list_containers(socket_path, PATIENCE_S)
        files, threads = len(os.listdir("/proc/self/fd")), running()
        for _ in range(20):
            list_containers(socket_path, PATIENCE_S)
            reason(f"{socket_path}.none")
        # Fewer than one of each call; grpc opens and starts some of its own when it is busy.
        wait_until(lambda: len(os.listdir("/proc/self/fd")) < files + 20, "descriptors are closed")
        wait_until(lambda: running() < threads + 20, f"threads have ended: {threading.enumerate()}")
