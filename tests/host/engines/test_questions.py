"""Tests of the questions to engines: HTTP on a Unix socket, and containerd's gRPC, against small servers."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import PATIENCE_S, short_directory

import runtimed.host.engines.questions
from runtimed.core.containerd.cri_status import STATUS, decode_status_config
from runtimed.core.engines.engine import CriStatus, Get, NoAnswer, Question, Run
from runtimed.host.engines.questions import ask

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def no_program(run: Run) -> bytes:
    raise AssertionError(run)


def put_question(question: Question) -> bytes:
    return ask(question, no_program)


@contextlib.contextmanager
def engine(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """Yield the path of a socket; ``serve`` gets the first connection, whose request has been read."""
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = str(directory / "s")
        listener.bind(path)
        listener.listen()
        listener.settimeout(PATIENCE_S)

        def run() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                request = connection.recv(65536)
                assert request.startswith(b"GET /info HTTP/1.1\r\nHost: localhost\r\n"), request
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield path
        finally:
            thread.join(PATIENCE_S)


def test_the_answer_of_a_program_is_its_output() -> None:
    assert ask(Run(("podman", "info")), lambda run: " ".join(run.words).encode()) == b"podman info"


def test_the_answer_to_a_get_is_the_body() -> None:
    with engine(lambda connection: connection.sendall(OK)) as path:
        assert put_question(Get(path, "/info")) == b"{}"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    with engine(lambda connection: connection.sendall(chunked)) as path:
        assert put_question(Get(path, "/info")) == b"{}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\na\x1b\nbc", r"answers GET /info with status 500: a\\x1b\\nbc"),
        (b"hello\r\n\r\n", "does not answer as HTTP: BadStatusLine"),
        (b"", "(?i)closed connection|connection reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "does not answer as HTTP: IncompleteRead"),
    ],
)
def test_an_error_in_place_of_an_answer_is_told(answer: bytes, reason: str) -> None:
    with engine(lambda connection: connection.sendall(answer)) as path, pytest.raises(NoAnswer, match=reason):
        put_question(Get(path, "/info"))


def test_an_engine_that_hangs_or_drips_or_floods_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimed.host.engines.questions, "_MAX_BYTES", 100_000)
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not done.wait(0.05):
            connection.sendall(b"x")

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_000_000))

    for serve, timeout_s, reason in (
        (lambda _: done.wait(PATIENCE_S), 0.5, "within 0.5 s"),
        (drip, 0.5, "within 0.5 s"),
        (flood, PATIENCE_S, "more than 100,000"),
    ):
        monkeypatch.setattr(runtimed.host.engines.questions, "_TIMEOUT_S", timeout_s)
        done.clear()
        with engine(serve) as path, contextlib.ExitStack() as stack:
            stack.callback(done.set)
            with pytest.raises(NoAnswer, match=reason):
                put_question(Get(path, "/info"))


def test_a_socket_that_does_not_exist_or_is_no_socket_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path / "none", "no such file or directory"), (tmp_path / "file", "is not a socket")):
        with pytest.raises(NoAnswer, match=reason):
            put_question(Get(str(path), "/info"))
    with short_directory() as directory:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory / "s"))
        with pytest.raises(NoAnswer, match="connection refused"):
            put_question(Get(f"{directory}/s", "/info"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket to another user")
@pytest.mark.parametrize("kind", [lambda path: Get(path, "/info"), CriStatus])
def test_root_does_not_ask_at_the_socket_of_another_user(kind: Callable[[str], Question]) -> None:
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
        listener.listen()
        os.chown(directory / "s", 1234, 0)
        with pytest.raises(NoAnswer, match="belongs to user 1234, who is not root"):
            put_question(kind(str(directory / "s")))
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@contextlib.contextmanager
def cri(answer: bytes | None, not_ready: int = 0) -> Iterator[str]:
    """Yield the socket of a CRI that gives ``answer`` to a verbose request; None: it has no such call.

    To so many requests it answers first that it is ``not_ready``.
    """
    import grpc  # noqa: PLC0415 - an extra

    early = iter(range(not_ready))

    def respond(request: bytes, context: Any) -> bytes:
        if next(early, None) is not None:
            # As containerd's pkg/cri says it.
            context.abort(grpc.StatusCode.UNKNOWN, "server is not initialized yet")
        assert answer is not None
        return answer if request == b"\x08\x01" else b""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, call: object) -> object:
            if answer is None or call.method != STATUS:  # type: ignore[attr-defined]
                return None
            return grpc.unary_unary_rpc_method_handler(respond, lambda data: data, lambda data: data)

    with short_directory() as directory:
        server = grpc.server(ThreadPoolExecutor(1), handlers=(Handler(),))
        server.add_insecure_port(f"unix://{directory}/s")
        server.start()
        try:
            yield f"{directory}/s"
        finally:
            server.stop(None).wait()


def field(number: int, data: bytes) -> bytes:
    """Return a protobuf field whose value has less than 128 bytes."""
    return bytes([number << 3 | 2, len(data)]) + data


# RuntimeStatus as field 1, then the map of two entries.
RESPONSE = field(1, field(1, b"\x08\x01")) + b"".join(
    field(2, field(1, key) + field(2, value)) for key, value in ((b"golang", b"go"), (b"config", b'{"a": 1}'))
)


def test_the_configuration_in_the_status_of_the_cri_is_the_answer() -> None:
    pytest.importorskip("grpc")
    with cri(RESPONSE) as path:
        assert put_question(CriStatus(path)) == b'{"a": 1}'


def test_a_cri_that_has_just_started_is_asked_until_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc")
    with cri(RESPONSE, not_ready=3) as path:
        assert put_question(CriStatus(path)) == b'{"a": 1}'
    monkeypatch.setattr(runtimed.host.engines.questions, "_TIMEOUT_S", 1.0)
    # On a busy machine the time may end within a request.
    reason = "server is not initialized yet|deadline_exceeded"
    with cri(RESPONSE, not_ready=1000) as path, pytest.raises(NoAnswer, match=reason):
        put_question(CriStatus(path))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(None, "unimplemented"), (b"", "has no configuration"), (b"\x12\x7f", "parsing"), (field(1, b""), "no config")],
)
def test_a_cri_without_such_an_answer_is_told(answer: bytes | None, reason: str) -> None:
    pytest.importorskip("grpc")
    with cri(answer) as path, pytest.raises(NoAnswer, match=f"(?i){reason}"):
        put_question(CriStatus(path))


def test_without_grpcio_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "s"))
        with pytest.raises(NoAnswer, match=r"only be asked with grpcio: pip install 'runtimed\[containerd\]'"):
            put_question(CriStatus(str(directory / "s")))


def test_bytes_that_are_no_status_are_an_error() -> None:
    with pytest.raises(ValueError, match="arsing"):
        decode_status_config(b"\x12\x7f")
