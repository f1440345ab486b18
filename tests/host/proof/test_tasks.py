"""A test through containerd's API, with a server in place of containerd. tests/e2e uses real ones."""

from __future__ import annotations

import os
import secrets
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
from harness.daemon import PATIENCE_S, short_directory

import runtimed.host.proof.containerd_leftovers
import runtimed.host.proof.tasks
from runtimed.core import errors
from runtimed.core.config import Engine
from runtimed.core.containerd import tasks as api
from runtimed.core.containerd.api import LIST_NAMESPACES, NAMESPACE_HEADER
from runtimed.core.proof.engine import Traces
from runtimed.host.proof.bundle import Bundle
from runtimed.host.proof.containerd_leftovers import abandoned_namespaces
from runtimed.host.proof.leftovers import list_leftovers, remove_all
from runtimed.host.proof.tasks import Tasks

# Another one in each process of pytest: leftovers are searched for on the whole node.
ID = f"runtimed-test-{secrets.token_hex(6)}"
OTHER = "runtimed-test-ba9876543210"
SHIM = "io.containerd.demo.v1"
EMPTY = b""
EXIT_42 = b"\x08\x2a"


class Peer:
    """Responds like containerd: it keeps whether there is a container and a task."""

    def __init__(self, fifo: str) -> None:
        self.address = ""
        self.calls: list[str] = []
        self.namespaces: set[str] = set()
        self.exists: set[str] = set()
        # Method -> a function in place of the usual response.
        self.instead: dict[str, Callable[[Any], bytes]] = {}
        self._fifo = fifo

    def respond(self, method: str, request: bytes, context: Any) -> bytes:
        namespace = dict(context.invocation_metadata())[NAMESPACE_HEADER]
        self.calls.append(method.rpartition(".")[2])
        if method in self.instead:
            return self.instead[method](context)
        kind = "task" if ".tasks." in method else "container"
        if method == LIST_NAMESPACES:
            return b"".join(
                b"\x0a" + bytes([len(name) + 2, 0x0A, len(name)]) + name.encode() for name in self.namespaces
            )
        if method == api.DELETE_NAMESPACE:
            self.namespaces.discard(namespace)
        elif method in (api.CREATE_CONTAINER, api.CREATE_TASK):
            self.namespaces.add(namespace)
            self.exists.add(kind)
        elif kind not in self.exists:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        elif method in (api.DELETE_TASK, api.DELETE_CONTAINER):
            self.exists.discard(kind)
        elif method == api.START_TASK:
            Path(self._fifo).write_bytes(b"x" * 10)
        elif method == api.WAIT_TASK:
            return EXIT_42
        return EMPTY


@pytest.fixture(autouse=True)
def a_busy_machine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimed.host.proof.containerd_leftovers, "_CALL_S", PATIENCE_S)
    monkeypatch.setattr(runtimed.host.proof.tasks, "_ABORT_S", PATIENCE_S)


@pytest.fixture
def bundle() -> Iterator[Bundle]:
    with short_directory() as root:
        (root / "b").mkdir()
        yield Bundle(ID, str(root / "b"), {"root": {"path": "/r"}})


@pytest.fixture
def peer(bundle: Bundle) -> Iterator[Peer]:
    peer = Peer(f"{bundle.path}/stdout")

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: peer.respond(call.method, request, context)
            )

    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((Handler(),))
        peer.address = f"{os.path.dirname(bundle.path)}/c.sock"
        server.add_insecure_port(f"unix:{peer.address}")
        server.start()
        yield peer
        server.stop(None).wait()


def new_tasks(
    bundle: Bundle, address: str, timeout_s: float = PATIENCE_S, stopped: threading.Event | None = None
) -> Tasks:
    return Tasks(bundle, SHIM, None, address, timeout_s, stopped or threading.Event())


def traces(bundle: Bundle, peer: Peer) -> Traces:
    return Traces(ID, bundle.path, containerd=peer.address)


def reason(step: Callable[[], object]) -> str:
    with pytest.raises(errors.TestFailed) as caught:
        step()
    return str(caught.value)


def test_a_test_takes_all_steps_and_reads_the_output(bundle: Bundle, peer: Peer) -> None:
    tasks = new_tasks(bundle, peer.address)
    tasks.create()
    tasks.start()
    assert tasks.wait() == 42
    assert {each["kind"] for each in list_leftovers(traces(bundle, peer))} == {"task", "container"}
    tasks.delete()
    assert tasks.output == b"x" * 10
    assert peer.exists == set()
    assert remove_all(traces(bundle, peer)) == []
    assert peer.namespaces == set()


def test_output_without_end_is_read_and_only_its_beginning_is_kept(bundle: Bundle, peer: Peer) -> None:
    def write(_context: Any) -> bytes:
        with open(f"{bundle.path}/stdout", "wb") as fifo:
            fifo.writelines(b"y" * 10_000 for _ in range(50))
        return EXIT_42

    peer.instead[api.WAIT_TASK] = write
    tasks = new_tasks(bundle, peer.address)
    tasks.create()
    assert tasks.wait() == 42
    assert tasks.output == b"y" * 65536
    peer.instead.clear()
    tasks.abort()


def test_an_error_of_containerd_is_the_reason_and_an_abort_removes_the_rest(bundle: Bundle, peer: Peer) -> None:
    peer.instead[api.START_TASK] = lambda context: context.abort(grpc.StatusCode.UNKNOWN, "no luck: unknown")
    tasks = new_tasks(bundle, peer.address)
    tasks.create()
    assert reason(tasks.start) == "start: no luck"
    tasks.abort()
    assert peer.exists == set()


def test_a_call_that_takes_too_long_and_an_interruption_end_the_step(bundle: Bundle, peer: Peer) -> None:
    release = threading.Event()
    stopped = threading.Event()

    def hang(_context: Any) -> bytes:
        release.wait(2 * PATIENCE_S)
        return EMPTY

    peer.instead[api.CREATE_TASK] = peer.instead[api.WAIT_TASK] = hang
    tasks = new_tasks(bundle, peer.address, 0.2, stopped)
    assert reason(tasks.create) == f"create: the shim {SHIM} did not respond within 0.2 s"
    assert reason(tasks.wait) == "wait: the container's process did not end within 0.2 s"
    patient = new_tasks(bundle, peer.address, PATIENCE_S, stopped)
    threading.Timer(0.1, stopped.set).start()
    begun_s = time.monotonic()
    with pytest.raises(errors.TestInterrupted):
        patient.wait()
    assert time.monotonic() - begun_s < PATIENCE_S
    release.set()
    patient.abort()
    tasks.abort()


def test_a_response_that_is_no_exit_status_is_a_failure(bundle: Bundle, peer: Peer) -> None:
    peer.instead[api.WAIT_TASK] = lambda _context: b"\x08"
    tasks = new_tasks(bundle, peer.address)
    tasks.create()
    assert reason(tasks.wait).startswith("wait: containerd sent no exit status")
    tasks.abort()


def test_without_grpcio_the_reason_names_the_command_that_installs_it(
    bundle: Bundle, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    assert "pip install 'runtimed[containerd]'" in reason(new_tasks(bundle, peer.address).create)
    assert list_leftovers(traces(bundle, peer)) == []


def test_no_container_is_created_where_containerd_does_not_run(bundle: Bundle) -> None:
    address = f"{os.path.dirname(bundle.path)}/none.sock"
    assert "its socket does not exist, so it is not running" in reason(new_tasks(bundle, address).create)
    Path(address).write_text("")
    assert "is not a socket" in reason(new_tasks(bundle, address).create)
    os.unlink(address)
    # A killed containerd leaves its socket.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(address)
    assert "is not running, or it has ended" in reason(new_tasks(bundle, address).create)
    assert reason(new_tasks(bundle, f"{address}/x").create).endswith("Not a directory")
    assert list_leftovers(Traces(ID, bundle.path, containerd=address)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_socket_of_another_user_is_refused(bundle: Bundle) -> None:
    address = f"{os.path.dirname(bundle.path)}/c.sock"
    with socket.socket(socket.AF_UNIX) as fake:
        fake.bind(address)
        os.chown(address, 65534, 65534)
        assert "belongs to user 65534, who is not root" in reason(new_tasks(bundle, address).create)


def test_what_a_killed_test_left_in_containerd_is_removed_and_a_hung_shim_does_not_hold_it_up(
    bundle: Bundle, peer: Peer
) -> None:
    new_tasks(bundle, peer.address).create()
    # A task whose shim does not respond.
    peer.instead[api.GET_TASK] = lambda context: context.abort(grpc.StatusCode.UNKNOWN, "ttrpc: closed")
    remaining = list_leftovers(traces(bundle, peer))
    assert {each["kind"] for each in remaining} == {"task", "container"}
    del peer.instead[api.GET_TASK]
    assert remove_all(traces(bundle, peer)) == []
    assert (peer.exists, peer.namespaces) == (set(), set())


def test_a_namespace_without_a_bundle_is_one_of_a_test_before_the_last_boot(bundle: Bundle, peer: Peer) -> None:
    root = os.path.dirname(bundle.path)
    os.mkdir(f"{root}/{OTHER}")
    peer.namespaces |= {ID, OTHER, "default", f"{ID}-more"}
    (found,) = abandoned_namespaces(Engine(peer.address, "/s"), root)
    assert found == Traces(ID, f"{root}/{ID}", containerd=peer.address, containerd_state="/s")
    peer.exists.add("container")
    assert remove_all(found) == []
    assert peer.namespaces == {OTHER, "default", f"{ID}-more"}
    assert list(abandoned_namespaces(Engine("/nonexistent", "/s"), root)) == []
