from __future__ import annotations

import grp
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support import RunningDaemon, short_directory

import runtimed.client
from runtimed.client import (
    BadAnswer,
    Client,
    ClientError,
    DaemonUnreachable,
    DigestMismatch,
    DiskTimeout,
    Forbidden,
    GenerationGone,
    InvalidRuntimeName,
    NoSuchGeneration,
    Refused,
    RuntimeUnavailable,
    TimedOut,
    Unhealthy,
    UnknownRuntime,
    UntrustedServer,
    default_socket,
)

NOBODY = 65534
STRANGER = 65533
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

# What a server does with one connection, once it has read the request.
Script = Callable[[socket.socket], None]


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as directory:
        directory.chmod(0o755)
        yield directory


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


class FakeServer:
    """Plays one script for each connection, in order; counts and keeps what it was asked."""

    def __init__(self, path: Path, scripts: Sequence[Script]) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._scripts = scripts
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for script in self._scripts:
            connection, _ = self._listener.accept()
            with connection:
                if (request := connection.recv(65536)) == b"the test is over":
                    return
                self.requests.append(request)
                with suppress(ConnectionError):  # the client had enough
                    script(connection)

    def close(self) -> None:
        if self._thread.is_alive():
            with closing(socket.socket(socket.AF_UNIX)) as last:
                last.connect(self._listener.getsockname())
                last.sendall(b"the test is over")
                self._thread.join(10)
        self._thread.join(10)
        self._listener.close()


@contextmanager
def fake_server(place: Path, *scripts: Script) -> Iterator[tuple[FakeServer, Client]]:
    server = FakeServer(place / "s", scripts)
    try:
        yield server, Client(str(place / "s"), timeout_s=5)
    finally:
        server.close()


def sends(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def dies(_connection: socket.socket) -> None:
    """Close without an answer."""


def answer(document: object, status: int = 200) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def as_user(uid: int, function: Callable[[], Any]) -> Any:
    """Return what ``function`` returns, or raise what it raises, in a process of the user ``uid``."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            try:
                result: Any = function()
            except ClientError as error:
                result = type(error).__name__, str(error), error.hint
            os.write(writing, pickle.dumps(result))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as results:
        data = results.read()
    os.waitpid(child, 0)
    return pickle.loads(data)


@contextmanager
def server_of(uid: int, path: Path, greeting: bytes) -> Iterator[Callable[[], bytes]]:
    """Yield what returns all that a server run by ``uid`` was sent; it answers ``greeting`` to whatever it hears."""
    reading, writing = os.pipe()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o777)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            listener.listen()
            os.write(writing, b"ready")
            connection, _ = listener.accept()
            heard = connection.recv(65536)
            os.write(writing, heard or b"nothing")
            connection.sendall(greeting)
        finally:
            os._exit(0)
    listener.close()
    try:
        assert os.read(reading, 5) == b"ready"
        yield lambda: os.read(reading, 65536)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


# Against a real daemon


def test_the_empty_name_resolves_to_the_default(daemon: RunningDaemon) -> None:
    client = Client(str(daemon.socket))
    assert client.resolve() == daemon.resolve()
    assert client.resolve()["runtime"] == "plain"


def test_a_socket_may_be_given_as_the_daemon_takes_it(daemon: RunningDaemon) -> None:
    assert Client(f"unix://{daemon.socket}").resolve("kata")["shim"] == "io.containerd.kata.v2"


def test_a_name_reaches_the_daemon_whatever_characters_it_has(daemon: RunningDaemon) -> None:
    client = Client(str(daemon.socket))
    names = [runtime["name"] for runtime in client.runtimes()["runtimes"] if runtime["name"] != "gone"]
    assert [name for name in names if "/" in name and "\N{LATIN SMALL LETTER E WITH ACUTE}" in name]
    for name in names:
        assert client.resolve(name)["runtime"] == name
        assert client.runtime(name)["name"] == name


def test_an_unknown_name_comes_with_what_is_known_and_the_nearest(daemon: RunningDaemon) -> None:
    with pytest.raises(UnknownRuntime, match="did you mean wrapped") as caught:
        Client(str(daemon.socket)).resolve("wraped")
    error = caught.value
    assert (error.status, error.code, error.nearest) == (400, "unknown-runtime", "wrapped")
    assert {"plain", "runc"} <= set(error.known)
    assert error.problem["runtime"] == "wraped"


@pytest.mark.parametrize("method", ["resolve", "runtime"])
def test_a_name_that_containerd_must_not_be_given_is_an_error_of_its_own(daemon: RunningDaemon, method: str) -> None:
    with pytest.raises(InvalidRuntimeName):
        getattr(Client(str(daemon.socket)), method)("io.x y.v2")


def test_a_name_that_is_no_utf8_is_refused_by_the_daemon(daemon: RunningDaemon) -> None:
    for name in ("\udcff", "\ud800"):
        with pytest.raises(Refused) as caught:
            Client(str(daemon.socket)).resolve(name)
        assert caught.value.status == 400


def test_a_binary_that_is_not_there_is_an_error_of_its_own(daemon: RunningDaemon) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        Client(str(daemon.socket)).resolve("gone")
    assert caught.value.problem["path"] == "/nowhere/gone"


def test_status_and_health_are_what_the_daemon_says(daemon: RunningDaemon) -> None:
    client = Client(str(daemon.socket))
    assert client.status()["health"] == {"status": "ok", "reasons": {}}
    assert client.healthz() == {"status": "ok"}


def test_a_reload_returns_its_report_also_when_it_is_rejected(own_daemon: RunningDaemon) -> None:
    client = Client(str(own_daemon.socket))
    assert client.reload()["outcome"] == "unchanged"
    number = client.status()["generation"]
    # The file's own trigger may come first, so only the dry run and the rejection are certain to differ.
    own_daemon.write({"runtimes": {"plain": 1}})
    for dry_run in (True, False):
        report = client.reload(dry_run=dry_run)
        assert (report["outcome"], report["dry_run"], report["generation"]) == ("rejected", dry_run, number)
        assert report["problems"][0]["pointer"] == "/runtimes/plain"


def test_a_client_goes_on_after_a_restart(own_daemon: RunningDaemon) -> None:
    client = Client(str(own_daemon.socket))
    before = client.resolve("plain")
    own_daemon.stop()
    with pytest.raises(DaemonUnreachable):
        client.resolve("plain")
    own_daemon.start()
    assert client.resolve("plain") == before


def test_a_client_may_be_shared_by_threads(daemon: RunningDaemon) -> None:
    client = Client(str(daemon.socket))
    wrong: list[object] = []

    def ask(name: str) -> None:
        answers = [client.resolve(name)["runtime"] for _ in range(50)]
        wrong.extend(found for found in answers if found != name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("plain", "wrapped", "kata", "runc")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Against servers that misbehave


def test_a_connection_that_dies_before_the_answer_is_asked_once_more(place: Path) -> None:
    with fake_server(place, dies, sends(answer({"runtime": "x"}))) as (server, client):
        assert client.resolve("x") == {"runtime": "x"}
    assert len(server.requests) == 2
    assert server.requests[0] == server.requests[1]


def test_half_an_answer_counts_as_none(place: Path) -> None:
    with fake_server(place, sends(answer({"runtime": "x"})[:-1]), sends(answer({"runtime": "y"}))) as (_, client):
        assert client.resolve("x") == {"runtime": "y"}


def test_a_connection_that_dies_twice_is_an_error(place: Path) -> None:
    with fake_server(place, dies, dies, dies) as (server, client):
        with pytest.raises(DaemonUnreachable, match="before the answer, twice"):
            client.status()
        assert len(server.requests) == 2


@pytest.mark.parametrize("work", [Client.reload, Client.gc])
def test_work_is_never_asked_for_twice(place: Path, work: Callable[[Client], object]) -> None:
    with fake_server(place, dies, dies) as (server, client):
        with pytest.raises(DaemonUnreachable, match="whether it was done is not known"):
            work(client)
        assert len(server.requests) == 1


def test_the_second_attempt_waits_for_a_daemon_that_is_starting(place: Path) -> None:
    path = place / "s"
    revived: list[FakeServer] = []

    def restarts(connection: socket.socket) -> None:
        path.unlink()
        connection.close()
        time.sleep(0.3)
        revived.append(FakeServer(path, [sends(answer({"runtime": "new"}))]))

    with fake_server(place, restarts) as (_, client):
        assert client.resolve() == {"runtime": "new"}
    revived[0].close()


def test_an_answer_may_come_in_any_pieces(place: Path) -> None:
    def trickles(connection: socket.socket) -> None:
        for byte in answer({"runtime": "x"}):
            connection.sendall(bytes([byte]))

    with fake_server(place, trickles) as (_, client):
        assert client.resolve() == {"runtime": "x"}


def test_a_large_answer_arrives_whole(place: Path) -> None:
    document = {"runtimes": ["x" * 1000] * 5000}
    with fake_server(place, sends(answer(document))) as (_, client):
        assert client.runtimes() == document


def test_a_refusal_that_does_not_wait_for_the_question_is_read(place: Path) -> None:
    problem = {"code": "too-many-connections", "detail": "there are 1000 connections"}
    path = place / "s"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            connection.sendall(answer(problem, 503))
            connection.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(Refused, match="1000 connections") as caught:
            Client(str(path), timeout_s=5).status()
        thread.join()
    assert (caught.value.status, caught.value.code) == (503, "too-many-connections")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "forbidden", Forbidden),
        (503, "unhealthy", Unhealthy),
        (404, "no-such-generation", NoSuchGeneration),
        (410, "generation-gone", GenerationGone),
        (409, "digest-mismatch", DigestMismatch),
        (503, "disk-timeout", DiskTimeout),
        (500, "internal-error", Refused),
    ],
)
def test_a_problem_becomes_the_error_of_its_code(place: Path, status: int, code: str, kind: type[Refused]) -> None:
    problem = {"code": code, "detail": "because", "ailments": {"watcher": "dead"}}
    with (
        fake_server(place, sends(answer(problem, status))) as (_, client),
        pytest.raises(kind, match="because") as caught,
    ):
        client.healthz()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code, caught.value.problem) == (status, code, problem)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1"),
        (b"\x00" * 10, "not HTTP/1"),
        (b"HTTP/2 200\r\nContent-Length: 2\r\n\r\n{}", "not HTTP/1"),
        (b"HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "no status"),
        (b"HTTP/1.1 ok\r\nContent-Length: 2\r\n\r\n{}", "no status"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "how long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "how long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "how long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", "how long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n{}" % (b"9" * 5000), "how long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{}" % (64 * 2**20 + 1), "larger than 64 MiB"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20, "head is larger"),
        (answer(b"hello"), "not JSON"),
        (answer(b"\xff\xfe"), "not JSON"),
        (answer(b"[" * 100_000), "not JSON"),
        (answer([1]), "not a JSON object"),
        (answer(b"null", 404), "not a JSON object"),
    ],
)
def test_what_is_no_answer_of_a_daemon_is_a_bad_answer(place: Path, data: bytes, reason: str) -> None:
    with fake_server(place, sends(data)) as (_, client), pytest.raises(BadAnswer, match=reason):
        client.status()


def test_the_time_out_is_for_the_whole_answer_however_it_trickles(place: Path) -> None:
    def trickles(connection: socket.socket) -> None:
        for byte in answer({"x": "y" * 1000}):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    with fake_server(place, trickles) as (_, client):
        client.timeout_s = 0.3
        began_s = time.monotonic()
        with pytest.raises(TimedOut, match=r"within 0\.3 s"):
            client.status()
        assert time.monotonic() - began_s < 3


def test_a_daemon_that_accepts_nobody_is_waited_for_no_longer_than_the_time_out(place: Path) -> None:
    path = str(place / "s")
    with closing(socket.socket(socket.AF_UNIX)) as listener, closing(socket.socket(socket.AF_UNIX)) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with pytest.raises(TimedOut):
            Client(path, timeout_s=0.2).status()


# No daemon


def test_a_socket_that_is_not_there_is_named_with_what_to_do(place: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="no such socket") as caught:
        Client(str(place / "s")).status()
    assert caught.value.socket == str(place / "s")
    assert "systemctl start runtimed" in caught.value.hint


def test_a_socket_that_nobody_listens_on_is_told_from_one_that_is_missing(place: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(place / "s"))
    with pytest.raises(DaemonUnreachable, match="nobody listens there"):
        Client(str(place / "s")).status()


@pytest.mark.parametrize("path", ["/tmp/" + "x" * 200, "/tmp/a\0b"])
def test_a_path_that_no_socket_can_have_is_an_error_like_any_other(path: str) -> None:
    with pytest.raises(DaemonUnreachable):
        Client(path).status()


@needs_root
def test_whoever_lacks_permission_is_told_the_group(place: Path) -> None:
    with fake_server(place) as (_, client):
        os.chown(place / "s", 0, 1)
        (place / "s").chmod(0o660)
        group = grp.getgrgid(1).gr_name
        kind, text, hint = as_user(NOBODY, client.status)
        assert kind == "DaemonUnreachable"
        assert f"for the group {group} (mode 0660)" in text
        assert f"usermod -aG {group}" in hint
        os.chown(place / "s", 0, 0)
        assert "sudo" in as_user(NOBODY, client.status)[2]
        place.chmod(0o700)
        assert "a directory on the way" in as_user(NOBODY, client.status)[1]


# Trust


@needs_root
def test_root_says_nothing_to_a_server_of_somebody_else(place: Path) -> None:
    with server_of(NOBODY, place / "s", answer({"runtime": "evil"})) as heard:
        with pytest.raises(UntrustedServer) as caught:
            Client(str(place / "s")).resolve()
        assert heard() == b"nothing"
    assert caught.value.uid == NOBODY


@needs_root
@pytest.mark.parametrize(
    ("server", "believed"), [(0, True), (NOBODY, True), (STRANGER, False)], ids=["root", "oneself", "a stranger"]
)
def test_a_user_believes_root_and_oneself(place: Path, server: int, *, believed: bool) -> None:
    with server_of(server, place / "s", answer({"runtime": "x"})):
        found = as_user(NOBODY, Client(str(place / "s")).resolve)
    assert found == {"runtime": "x"} if believed else found[0] == "UntrustedServer"


@needs_root
def test_a_member_of_the_group_may_ask_and_not_reload(place: Path) -> None:
    daemon = RunningDaemon(place)
    daemon.write({})
    try:
        daemon.start("--group", grp.getgrgid(NOBODY).gr_name)
        client = Client(str(daemon.socket))
        assert as_user(NOBODY, client.resolve)["runtime"] == "runc"
        kind, text, _ = as_user(NOBODY, client.reload)
        assert (kind, "may ask and change nothing" in text) == ("Forbidden", True)
    finally:
        if daemon.process is not None:
            daemon.stop()


# Which socket, and what it costs


def test_the_socket_is_found_as_the_daemon_places_it(place: Path) -> None:
    own = place / "runtimed" / "runtimed.sock"
    own.parent.mkdir()
    own.touch()
    system = "/run/runtimed/runtimed.sock"
    xdg = {"XDG_RUNTIME_DIR": str(place)}
    assert default_socket(xdg, STRANGER) == str(own)
    # Root has no daemon but the system's.
    assert default_socket(xdg, 0) == system
    assert default_socket({**xdg, "RUNTIMED_SOCKET": "/else"}, STRANGER) == "/else"
    assert default_socket({"RUNTIMED_SOCKET": "/else"}, 0) == "/else"
    assert default_socket({**xdg, "RUNTIMED_SOCKET": ""}, STRANGER) == str(own)
    own.unlink()
    assert default_socket(xdg, STRANGER) == system
    assert default_socket({"XDG_RUNTIME_DIR": "relative"}, STRANGER) == system
    assert default_socket({}, STRANGER) == system


def test_the_client_needs_nothing_but_the_standard_library_and_little_of_that(daemon: RunningDaemon) -> None:
    house = Path(runtimed.client.__file__).parents[2]
    # -S: without site-packages, so without everything that the daemon depends on.
    program = f"""if True:
        import os, sys
        sys.path.insert(0, {str(house)!r})
        before = set(sys.modules)
        import runtimed.client
        print(*sorted(set(sys.modules) - before))
        print(runtimed.client.Client({str(daemon.socket)!r}).resolve("kata")["shim"])
    """
    run = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    imported, shim = run.stdout.splitlines()
    assert {name.split(".")[0] for name in imported.split()} == {"runtimed", "__future__"}
    assert shim == "io.containerd.kata.v2"
