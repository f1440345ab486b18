"""Tests both clients with a real daemon, misbehaving servers and untrusted servers."""

from __future__ import annotations

import gc
import grp
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from harness.clients import (
    FakeServer,
    NewClient,
    Script,
    answer,
    as_user,
    dies,
    fake_server,
    sends,
    server_of,
)
from harness.daemon import PATIENCE_S, RunningDaemon, UnixConnection, short_directory
from harness.runtimectl import fields_of, runtimectl

import runtimed.client
from runtimed.client import (
    AsyncClient,
    BadAnswer,
    BadRequest,
    Client,
    DaemonUnreachable,
    DamagedManifest,
    DigestMismatch,
    DiskTimeout,
    Forbidden,
    GenerationGone,
    InternalError,
    InvalidRuntimeName,
    NoSuchGeneration,
    Refused,
    RuntimeUnavailable,
    StoreFailed,
    TimedOut,
    TooManyClients,
    Unhealthy,
    UnknownRuntime,
    UntrustedServer,
    default_socket,
    errors,
)
from runtimed.client.errors import refuse
from runtimed.client.socket_path import SYSTEM_SOCKET, default_sockets, log_hint, user_directories
from runtimed.core.problem_codes import DEFAULT_HINT, PROBLEM_CODES

HOUSE = Path(runtimed.client.__file__).parents[1]
NOBODY = 65534
STRANGER = 65533
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

Fake = Callable[..., AbstractContextManager[tuple[FakeServer, Client]]]


@pytest.fixture
def fake(place: Path, new_client: NewClient) -> Fake:
    """Return what makes a server that plays scripts, and a client that asks it."""

    @contextmanager
    def made(*scripts: Script) -> Iterator[tuple[FakeServer, Client]]:
        with fake_server(place / "s", *scripts) as server:
            yield server, new_client(server.path, timeout_s=PATIENCE_S)

    return made


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as directory:
        directory.chmod(0o755)
        yield directory


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    # Descriptors that other tests left are closed when they are collected.
    gc.collect()
    before = os.listdir("/proc/self/fd")
    yield
    # A socket that is left to the collector warns, and that is an error.
    gc.collect()
    assert os.listdir("/proc/self/fd") == before


# Against a real daemon


def test_the_empty_name_resolves_to_the_default(new_client: NewClient, daemon: RunningDaemon) -> None:
    client = new_client(str(daemon.socket))
    assert client.resolve() == daemon.resolve()
    assert client.resolve()["runtime"] == "plain"


def test_a_socket_may_be_given_as_a_unix_url(new_client: NewClient, daemon: RunningDaemon) -> None:
    assert new_client(f"unix://{daemon.socket}").resolve("kata")["shim"] == "io.containerd.kata.v2"


def test_a_name_with_special_characters_is_resolved(new_client: NewClient, daemon: RunningDaemon) -> None:
    client = new_client(str(daemon.socket))
    names = [runtime["name"] for runtime in client.runtimes()["runtimes"] if runtime["name"] != "gone"]
    assert [name for name in names if "/" in name and "\N{LATIN SMALL LETTER E WITH ACUTE}" in name]
    for name in names:
        assert client.resolve(name)["runtime"] == name
        assert client.explain(name)["name"] == name


def test_an_unknown_name_raises_the_known_names_and_the_nearest(new_client: NewClient, daemon: RunningDaemon) -> None:
    with pytest.raises(UnknownRuntime, match="did you mean wrapped") as caught:
        new_client(str(daemon.socket)).resolve("wraped")
    error = caught.value
    assert (error.status, error.code, error.nearest) == (400, "unknown-runtime", "wrapped")
    assert {"plain", "runc"} <= set(error.known)
    assert error.problem["runtime"] == "wraped"


@pytest.mark.parametrize("method", ["resolve", "explain"])
def test_a_name_that_containerd_must_not_get_raises_invalid_runtime_name(
    new_client: NewClient, daemon: RunningDaemon, method: str
) -> None:
    with pytest.raises(InvalidRuntimeName):
        getattr(new_client(str(daemon.socket)), method)("io.x y.v2")


def test_a_name_that_is_not_utf8_is_refused_by_the_daemon(new_client: NewClient, daemon: RunningDaemon) -> None:
    for name in ("\udcff", "\ud800"):
        with pytest.raises(Refused) as caught:
            new_client(str(daemon.socket)).resolve(name)
        assert caught.value.status == 400


def test_a_missing_binary_raises_runtime_unavailable(new_client: NewClient, daemon: RunningDaemon) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        new_client(str(daemon.socket)).resolve("gone")
    assert caught.value.problem["path"] == "/nowhere/gone"


def test_status_and_health_are_the_daemons(new_client: NewClient, daemon: RunningDaemon) -> None:
    client = new_client(str(daemon.socket))
    assert client.status()["health"] == {"status": "ok", "reasons": {}}
    assert dict(client.healthz()) == {"status": "ok"}


def test_containers_are_those_that_have_a_pin(new_client: NewClient, daemon: RunningDaemon) -> None:
    assert dict(new_client(str(daemon.socket)).containers()) == {"generation": 1, "containers": []}


def test_a_recorded_verification_is_in_the_status(new_client: NewClient, own_daemon: RunningDaemon) -> None:
    client = new_client(str(own_daemon.socket))
    detail = "a b&c=ü%\x1b"
    recorded = [
        client.record_verification("docker", "unknown", detail),
        client.record_verification("docker", "follows"),
    ]
    assert [(each["state"], each["detail"]) for each in recorded] == [("unknown", detail), ("follows", "")]
    assert client.status()["engines"] == recorded[1:]
    (line,) = fields_of(runtimectl("status", on=own_daemon).stdout)["engines"]
    assert line.startswith("docker follows (")
    with pytest.raises(BadRequest, match="unknown engine: a/b"):
        client.record_verification("a/b", "follows")


def test_a_rejected_reload_returns_its_report(new_client: NewClient, own_daemon: RunningDaemon) -> None:
    client = new_client(str(own_daemon.socket))
    assert client.reload()["outcome"] == "unchanged"
    number = client.status()["generation"]
    # The file's own trigger may come first, so only the dry run and the rejection are certain to differ.
    own_daemon.write({"runtimes": {"plain": 1}})
    for dry_run in (True, False):
        report = client.reload(dry_run=dry_run)
        assert (report["outcome"], report["dry_run"], report["generation"]) == ("rejected", dry_run, number)
        assert report["problems"][0]["pointer"] == "/runtimes/plain"


def test_a_long_table_is_of_one_generation_while_it_changes(new_client: NewClient, own_daemon: RunningDaemon) -> None:
    client = new_client(str(own_daemon.socket))
    names = [f"runtime{number:04d}" for number in range(400)]

    def write(mark: int) -> None:
        own_daemon.write({"runtimes": {name: {"path": "/bin/sh", "runtimeArgs": [f"--{mark}"]} for name in names}})
        own_daemon.reload()

    write(0)
    with closing(UnixConnection(str(own_daemon.socket))) as connection:
        connection.request("GET", "/v1/runtimes")
        response = connection.getresponse()
        assert response.headers["Transfer-Encoding"] == "chunked"
        begin = response.read(1000)
        write(1)
        old = json.loads(begin + response.read())
    new = client.runtimes()
    assert new["generation"] == old["generation"] + 1
    for mark, table in enumerate((old, new)):
        described = [each for each in table["runtimes"] if each["source"] == "configured"]
        assert [each["name"] for each in described] == names
        assert {each["generation"] for each in described} == {table["generation"]}
        assert [each["definition"]["runtimeArgs"] for each in described] == [[f"--{mark}"]] * len(names)
    number = new["generation"]
    diff, whole = client.diff(number - 1, number), client.generation(number)
    assert [each["name"] for each in diff["changed"]] == names
    assert [each for each in whole["runtimes"] if each.startswith("runtime")] == names
    assert whole["config"]["runtimes"] == {each["name"]: each["to"] for each in diff["changed"]}


def test_a_response_that_ends_between_two_chunks_is_not_taken_for_complete(fake: Fake) -> None:
    half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    whole = half + b"0\r\n\r\n"
    with fake(sends(half), sends(half), sends(half), sends(whole)) as (_, client):
        with pytest.raises(DaemonUnreachable, match="twice"):
            client.status()
        assert dict(client.status()) == {}


def test_a_client_works_after_a_restart_of_the_daemon(new_client: NewClient, own_daemon: RunningDaemon) -> None:
    client = new_client(str(own_daemon.socket))
    before = client.resolve("plain")
    own_daemon.stop()
    with pytest.raises(DaemonUnreachable):
        client.status()
    own_daemon.start()
    assert client.resolve("plain") == before


def test_a_client_may_be_shared_by_threads(new_client: NewClient, daemon: RunningDaemon) -> None:
    client = new_client(str(daemon.socket))
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


def test_a_get_whose_connection_ends_early_is_sent_again_once(fake: Fake) -> None:
    with fake(dies, sends(answer({"runtime": "x"}))) as (server, client):
        assert dict(client.resolve("x")) == {"runtime": "x"}
    assert len(server.requests) == 2
    assert server.requests[0] == server.requests[1]


def test_half_a_response_counts_as_none(fake: Fake) -> None:
    with fake(sends(answer({"runtime": "x"})[:-1]), sends(answer({"runtime": "y"}))) as (_, client):
        assert dict(client.resolve("x")) == {"runtime": "y"}


def test_a_connection_that_ends_early_twice_is_an_error(fake: Fake) -> None:
    with fake(dies, dies, dies) as (server, client):
        with pytest.raises(DaemonUnreachable, match="before the response, twice"):
            client.status()
        assert len(server.requests) == 2


@pytest.mark.parametrize("work", ["reload", "gc"])
def test_a_post_is_never_sent_again(fake: Fake, work: str) -> None:
    with fake(dies, dies) as (server, client):
        with pytest.raises(DaemonUnreachable, match="whether the work was done is not known"):
            getattr(client, work)()
        assert len(server.requests) == 1


def test_the_second_attempt_waits_for_a_daemon_that_is_starting(fake: Fake, place: Path) -> None:
    path = place / "s"
    revived: list[FakeServer] = []

    def restarts(connection: socket.socket) -> None:
        path.unlink()
        connection.close()
        time.sleep(0.3)
        revived.append(FakeServer(path, [sends(answer({"runtime": "new"}))]))

    with fake(restarts) as (_, client):
        assert dict(client.resolve()) == {"runtime": "new"}
    revived[0].close()


def test_a_response_may_arrive_in_single_bytes(fake: Fake) -> None:
    def trickles(connection: socket.socket) -> None:
        for byte in answer({"runtime": "x"}):
            connection.sendall(bytes([byte]))

    with fake(trickles) as (_, client):
        assert dict(client.resolve()) == {"runtime": "x"}


def test_a_large_response_is_complete(fake: Fake) -> None:
    document = {"runtimes": ["x" * 1000] * 5000}
    with fake(sends(answer(document))) as (_, client):
        assert dict(client.runtimes()) == document


def test_a_refusal_sent_before_the_request_is_read(new_client: NewClient, place: Path) -> None:
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
            new_client(str(path), timeout_s=PATIENCE_S).status()
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
        (500, "store-failed", StoreFailed),
        (500, "damaged-manifest", DamagedManifest),
        (503, "too-many-connections", TooManyClients),
        (503, "too-many-subscribers", TooManyClients),
        (400, "bad-query", BadRequest),
        (404, "no-such-path", BadRequest),
        (500, "internal-error", InternalError),
        (418, "of-the-future", Refused),
    ],
)
def test_a_problem_raises_the_error_of_its_code(fake: Fake, status: int, code: str, kind: type[Refused]) -> None:
    problem = {"code": code, "detail": "because", "ailments": {"watcher": "dead"}}
    with (
        fake(sends(answer(problem, status))) as (_, client),
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
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "neither a Content-Length nor a Transfer-Encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Content-Length is '2, 3', not one"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", "Content-Length is '-2', not one number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n{}", "Content-Length is '', not one number"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n{}" % (b"9" * 5000),
            "Content-Length is '9{80}', not one number",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{}" % (64 * 2**20 + 1), "larger than 64 MiB"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20, "head is larger"),
        (answer(b"hello"), "not JSON"),
        (answer(b"\xff\xfe"), "not JSON"),
        (answer(b"[" * 100_000), "not JSON"),
        (answer([1]), "not a JSON object"),
        (answer(b"null", 404), "not a JSON object"),
    ],
)
def test_an_invalid_response_raises_bad_answer(fake: Fake, data: bytes, reason: str) -> None:
    with fake(sends(data)) as (_, client), pytest.raises(BadAnswer, match=reason):
        client.status()


def test_the_time_out_includes_a_response_that_arrives_slowly(new_client: NewClient, fake: Fake) -> None:
    def trickles(connection: socket.socket) -> None:
        for byte in answer({"x": "y" * 1000}):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    with fake(trickles) as (server, _):
        client = new_client(server.path, timeout_s=0.3)
        began_s = time.monotonic()
        with pytest.raises(TimedOut, match=r"within 0\.3 s"):
            client.status()
        assert time.monotonic() - began_s < 30, "the whole response takes 50 s"


def test_waiting_for_a_full_queue_ends_with_the_time_out(new_client: NewClient, place: Path) -> None:
    path = str(place / "s")
    with closing(socket.socket(socket.AF_UNIX)) as listener, closing(socket.socket(socket.AF_UNIX)) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with pytest.raises(TimedOut):
            new_client(path, timeout_s=0.2).status()


# No daemon


def test_the_hint_for_the_log_names_the_users_own_journal_where_it_is_the_users() -> None:
    assert log_hint(SYSTEM_SOCKET).endswith("journalctl -u runtimed")
    assert log_hint("/run/user/1000/runtimed/runtimed.sock").endswith("journalctl --user -u runtimed")


def test_a_missing_socket_is_named_with_a_hint(new_client: NewClient, place: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="no such socket") as caught:
        new_client(str(place / "s")).status()
    assert caught.value.socket == str(place / "s")
    assert "systemctl start runtimed" in caught.value.hint


def test_a_socket_without_a_listener_has_another_message_than_a_missing_one(new_client: NewClient, place: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(place / "s"))
    with pytest.raises(DaemonUnreachable, match="no process listens"):
        new_client(str(place / "s")).status()


@pytest.mark.parametrize("path", ["/tmp/" + "x" * 200, "/tmp/a\0b"])
def test_an_impossible_socket_path_raises_daemon_unreachable(new_client: NewClient, path: str) -> None:
    with pytest.raises(DaemonUnreachable):
        new_client(path).status()


@needs_root
def test_the_error_for_a_lack_of_permission_names_the_group(fake: Fake, place: Path) -> None:
    with fake() as (_, client):
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
def test_root_sends_no_byte_to_another_users_server(new_client: NewClient, place: Path) -> None:
    with server_of(NOBODY, place / "s", answer({"runtime": "evil"})) as heard:
        with pytest.raises(UntrustedServer) as caught:
            new_client(str(place / "s")).resolve()
        assert heard() == b"nothing"
    assert caught.value.uid == NOBODY


@needs_root
@pytest.mark.parametrize(
    ("server", "trusted"), [(0, True), (NOBODY, True), (STRANGER, False)], ids=["root", "oneself", "a stranger"]
)
def test_a_user_trusts_servers_of_root_and_of_the_same_user(
    new_client: NewClient, place: Path, server: int, *, trusted: bool
) -> None:
    with server_of(server, place / "s", answer({"runtime": "x"})):
        found = as_user(NOBODY, new_client(str(place / "s")).resolve)
    assert found == {"runtime": "x"} if trusted else found[0] == "UntrustedServer"


@needs_root
def test_a_member_of_the_group_may_read_and_not_reload(new_client: NewClient, place: Path) -> None:
    daemon = RunningDaemon(place)
    daemon.write({})
    try:
        daemon.start("--group", grp.getgrgid(NOBODY).gr_name)
        client = new_client(str(daemon.socket))
        assert as_user(NOBODY, client.resolve)["runtime"] == "runc"
        kind, text, _ = as_user(NOBODY, client.reload)
        assert (kind, "permission denied: only root may do this" in text) == ("Forbidden", True)
    finally:
        if daemon.process is not None:
            daemon.stop()


# Which socket, and what it costs


def test_the_default_socket_is_the_daemons(place: Path) -> None:
    own = place / "runtimed" / "runtimed.sock"
    own.parent.mkdir()
    own.touch()
    system = "/run/runtimed/runtimed.sock"
    xdg = {"XDG_RUNTIME_DIR": str(place)}
    user = os.geteuid() or STRANGER
    os.chown(place, user, -1)
    assert default_socket(xdg, user) == str(own)
    assert default_sockets(xdg, user) == [str(own), system]
    # Root has no daemon but the system's.
    assert default_socket(xdg, 0) == system
    assert default_socket({**xdg, "RUNTIMED_SOCKET": "/else"}, user) == "/else"
    assert default_socket({"RUNTIMED_SOCKET": "/else"}, 0) == "/else"
    assert default_socket({**xdg, "RUNTIMED_SOCKET": ""}, user) == str(own)
    own.unlink()
    assert default_socket(xdg, user) == system
    # A stopped daemon of the user leaves its table file, which may answer where the system's daemon does not.
    own.with_name("table.json").touch()
    assert default_sockets(xdg, user) == [str(own), system]
    assert default_socket(xdg, 0) == system
    assert default_socket({"XDG_RUNTIME_DIR": "relative", "HOME": str(place)}, user) == system
    assert default_socket({"HOME": str(place)}, STRANGER) == system


def test_without_a_runtime_directory_the_socket_is_below_the_state_directory(place: Path) -> None:
    own, state = place / "own", place / "state"
    user = os.geteuid() or STRANGER
    own.mkdir()
    os.chown(own, user, -1)
    below = [f"{state}/runtimed-run"]
    environ = {"XDG_STATE_HOME": str(state), "HOME": str(place)}
    # No user has this number, so there is no /run/user of it.
    assert user_directories(environ, 4_000_000) == below
    assert user_directories({"HOME": str(place)}, 4_000_000) == [f"{place}/.local/state/runtimed-run"]
    assert user_directories({**environ, "XDG_RUNTIME_DIR": "relative"}, 4_000_000) == below
    # `su USER` leaves the directory of the user before.
    assert user_directories({**environ, "XDG_RUNTIME_DIR": str(own)}, 4_000_000) == below
    assert user_directories({**environ, "XDG_RUNTIME_DIR": str(own)}, user) == [f"{own}/runtimed", *below]
    # A directory that is set and missing is made by the daemon.
    missing = f"{own}/missing"
    assert user_directories({**environ, "XDG_RUNTIME_DIR": missing}, user) == [f"{missing}/runtimed", *below]


def test_the_systems_socket_is_used_if_the_users_has_no_listener(
    place: Path, fake: Fake, new_client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, nowhere = place / "dead", place / "nowhere"
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(str(dead))
    with fake(sends(answer({"generation": 7})), sends(answer({"generation": 8}))) as (server, _):
        sockets = [str(dead), server.path]
        monkeypatch.setattr("runtimed.client.transport.default_sockets", lambda environ, uid: sockets)
        client = new_client()
        assert client.status()["generation"] == 7
        assert getattr(client, "client", client).socket == server.path
        # It stays with that daemon: a restart must not change which daemon answers.
        assert client.status()["generation"] == 8
    sockets[1] = str(nowhere)
    with pytest.raises(DaemonUnreachable) as caught:
        new_client().status()
    reason = f"no process listens; nor can one be reached on {nowhere}"
    assert (caught.value.socket, caught.value.reason) == (str(dead), reason)


@pytest.mark.parametrize(("kind", "more"), [("Client", set()), ("AsyncClient", {"asyncio"})])
def test_a_client_imports_only_a_little_of_the_standard_library(
    daemon: RunningDaemon, kind: str, more: set[str]
) -> None:
    # -S: without site-packages, so without everything that the daemon depends on.
    program = f"""if True:
        import os, sys
        sys.path.insert(0, {str(HOUSE.parent)!r})
        before = set(sys.modules)
        import runtimed.client
        print(*sorted(set(sys.modules) - before))
        client = runtimed.client.{kind}({str(daemon.socket)!r})
        print("asyncio" in sys.modules)
        answer = client.resolve("kata")
        if {kind == "AsyncClient"}:
            import asyncio
            answer = asyncio.run(answer)
        print(answer["shim"])
        print(*sorted(set(sys.modules) - before))
    """
    run = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    imported, has_asyncio, shim, imported_in_all = run.stdout.splitlines()
    assert top_levels(imported) == {"runtimed", "__future__"}
    assert has_asyncio == str("asyncio" in more)
    assert shim == "io.containerd.kata.v2"
    assert top_levels(imported_in_all) & {"asyncio", "typing", "http", "email", "urllib", "pydantic"} <= {
        *more,
        "typing",
    }
    assert kind == "AsyncClient" or "typing" not in top_levels(imported_in_all)


def top_levels(modules: str) -> set[str]:
    return {name.split(".")[0] for name in modules.split()}


# What both have


def test_both_clients_have_the_same_methods() -> None:
    methods = {name: method for name, method in vars(Client).items() if inspect.isfunction(method) and name[0] != "_"}
    assert len(methods) == 16
    for name, method in methods.items():
        one, other = inspect.signature(method), inspect.signature(getattr(AsyncClient, name))
        assert one.parameters == other.parameters, name
        assert name == "watch" or one.return_annotation == other.return_annotation, name


def test_all_public_names_exist() -> None:
    for name in runtimed.client.__all__:
        assert name == "SYSTEM_SOCKET" or getattr(runtimed.client, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = runtimed.client.Nothing


@pytest.mark.parametrize("code", PROBLEM_CODES)
def test_every_code_of_the_daemon_has_an_exception_and_a_hint(code: str) -> None:
    with pytest.raises(Refused) as caught:
        refuse(400, {"code": code})
    error, row = caught.value, PROBLEM_CODES[code]
    assert type(error) is getattr(errors, row.exception)
    assert type(error) is not Refused
    assert (error.code, error.hint) == (code, row.hint)


def test_a_code_of_a_later_daemon_has_the_common_exception_and_hint() -> None:
    with pytest.raises(Refused) as caught:
        refuse(418, {"code": "of-the-future"})
    assert (type(caught.value), caught.value.hint) == (Refused, DEFAULT_HINT)
