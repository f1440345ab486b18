"""Tests of both clients without a daemon: the table file is used where it is trusted, and named where it is not."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness.clients import NewClient, Script, answer, dies, fake_server, sends
from harness.daemon import PATIENCE_S, RunningDaemon, as_user, short_directory
from harness.runtimectl import runtimectl

from runtimed.client import (
    BadAnswer,
    Client,
    ClientError,
    DaemonUnreachable,
    DigestMismatch,
    RuntimeUnavailable,
    TimedOut,
    UnknownRuntime,
)

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
HEAD = {"format": 1, "generation": 7, "digest": "sha256:ff", "time": 1.5, "default_runtime": "plain"}


def entry(name: str, binary: str = "/bin/sh") -> dict[str, Any]:
    options = {"type_url": "t", "value": "", "fields": {"binary_name": binary}}
    body = {"runtime": name, "source": "configured", "shim": "io.containerd.runc.v2", "options": options}
    return {**body, "generation": 7, "digest": f"sha256:{len(name)}"}


def content(*entries: dict[str, Any], **head: object) -> bytes:
    texts = [(json.dumps(each["runtime"]), json.dumps(each, separators=(",", ":"))) for each in entries]
    lines = ",\n".join(f"{name}:{text}" for name, text in texts)
    return f'{json.dumps({**HEAD, **head})[:-1]},"runtimes":{{\n{lines}\n}}}}\n'.encode()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a table file and without a daemon."""
    with short_directory() as path:
        path.chmod(0o755)
        (path / "table.json").write_bytes(content(entry("plain"), entry('a"b\n:{'), entry("gone", "/nowhere/x")))
        (path / "table.json").chmod(0o644)
        yield path


def shim_of(place: Path) -> str:
    return Client(str(place / "s")).resolve("plain")["shim"]


def failure(place: Path) -> str:
    """Return why a name is not resolved."""
    with pytest.raises(DaemonUnreachable, match="there is no such socket") as caught:
        Client(str(place / "s")).resolve("plain")
    assert caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize("name", ["plain", 'a"b\n:{'])
def test_a_name_is_resolved_without_a_daemon_and_the_resolution_says_so(
    place: Path, new_client: NewClient, name: str
) -> None:
    assert new_client(str(place / "s")).resolve(name) == {**entry(name), "from": "file"}


def test_an_entry_is_found_wherever_it_begins_and_ends(place: Path) -> None:
    # Blocks of 64 KiB are read, and the entries reach over their ends.
    entries = [entry(f"runtime{number}", "/bin/sh" + "/" * slashes) for number, slashes in enumerate(range(500))]
    large = entry("large", "/bin/sh")
    large["options"]["fields"]["padding"] = "x" * 200_000
    (place / "table.json").write_bytes(content(*entries, large, entry("last")))
    client = Client(str(place / "s"))
    for each in (*entries, large, entry("last")):
        assert client.resolve(each["runtime"], 7) == {**each, "from": "file"}
    assert "has no runtime 'plain'" in failure(place)


def test_the_empty_name_is_the_default_runtime_of_the_file(place: Path, new_client: NewClient) -> None:
    assert new_client(str(place / "s")).resolve()["runtime"] == "plain"


def test_what_a_daemon_answered_is_in_its_file_after_it_has_stopped(
    new_client: NewClient, own_daemon: RunningDaemon
) -> None:
    client = new_client(str(own_daemon.socket))
    answers = {name: client.resolve(name) for name in ("plain", "runc", "")}
    assert own_daemon.stop() == 0
    assert {name: client.resolve(name) for name in answers} == {n: {**a, "from": "file"} for n, a in answers.items()}
    number, digest = answers["plain"]["generation"], answers["plain"]["digest"]
    assert client.resolve("plain", number, digest) == {**answers["plain"], "from": "file"}


def test_other_requests_need_the_daemon(place: Path, new_client: NewClient) -> None:
    with pytest.raises(DaemonUnreachable):
        new_client(str(place / "s")).runtimes()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("other",), "(generation 7) has no runtime 'other'"),
        (("plai",), "(generation 7) has no runtime 'plai'"),
        (("plain", 6), "has generation 7 only"),
        # As the daemon, which refuses a digest without a generation.
        (("plain", None, "sha256:5"), "has generation 7 only"),
    ],
)
def test_what_the_file_cannot_answer_is_the_error_of_the_daemon_that_is_missing(
    place: Path, new_client: NewClient, arguments: tuple[Any, ...], reason: str
) -> None:
    with pytest.raises(DaemonUnreachable, match="there is no such socket") as caught:
        new_client(str(place / "s")).resolve(*arguments)
    assert str(caught.value).endswith(f"{place}/table.json {reason}")


def test_another_digest_is_refused_as_by_the_daemon(place: Path, new_client: NewClient) -> None:
    with pytest.raises(DigestMismatch, match="has the digest sha256:5, not sha256:x") as caught:
        new_client(str(place / "s")).resolve("plain", 7, "sha256:x")
    assert (caught.value.digest, caught.value.status) == ("sha256:5", 409)


def test_a_missing_binary_is_refused_as_by_the_daemon(place: Path, new_client: NewClient) -> None:
    client = new_client(str(place / "s"))
    with pytest.raises(RuntimeUnavailable, match="/nowhere/x: no such file"):
        client.resolve("gone")
    # What was resolved once is resolved again, as by the daemon.
    assert client.resolve("gone", 7)["digest"] == "sha256:4"


def test_without_a_file_the_error_is_that_of_the_daemon(place: Path) -> None:
    (place / "table.json").unlink()
    assert failure(place).endswith("there is no such socket")
    with pytest.raises(DaemonUnreachable, match=r"there is no such socket$"):
        Client("/nowhere/s").resolve("plain")


def replaced(place: Path, make: Callable[[Path], object]) -> None:
    file = place / "table.json"
    file.rename(place / "other")
    make(file)


def cut(place: Path, length: int) -> None:
    os.truncate(place / "table.json", (place / "table.json").stat().st_size - length)


def written(place: Path, data: bytes) -> None:
    (place / "table.json").write_bytes(data)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "group-writable": (lambda place: (place / "table.json").chmod(0o664), "other users can write it (mode 0664)"),
    "world-writable directory": (lambda place: place.chmod(0o777), "other users can write it (mode 0777)"),
    "sticky directory": (lambda place: place.chmod(0o1777), "other users can write it (mode 1777)"),
    "link": (partial(replaced, make=lambda file: file.symlink_to("other")), "it is a symbolic link"),
    "dangling link": (partial(replaced, make=lambda file: file.symlink_to("nowhere")), "it is a symbolic link"),
    "FIFO": (partial(replaced, make=os.mkfifo), "it is no regular file"),
    "directory": (partial(replaced, make=Path.mkdir), "it is no regular file"),
    "one byte missing": (partial(cut, length=1), "it is damaged (its end is missing)"),
    "truncated": (partial(cut, length=300), "it is damaged (its end is missing)"),
    "empty": (partial(written, data=b""), "it is damaged ("),
    "not JSON": (partial(written, data=b"<html>\n" * 9), "it is damaged ("),
    "no object": (partial(written, data=b"[[1\n}}\n"), "it is damaged ("),
    "another format": (partial(written, data=content(format=2)), "its format is 2, and this client knows 1"),
    "an entry that is not JSON": (
        partial(written, data=content().replace(b"{\n", b'{\n"plain":{"runtime":"plain",')),
        "damaged",
    ),
    "an entry of another generation": (
        partial(written, data=content(entry("plain"), generation=8)),
        "the entry of plain is of generation 7",
    ),
    "1 GB": (lambda place: os.truncate(place / "table.json", 10**9), "it is larger than 64 MiB"),
}


@pytest.mark.parametrize("spoil", REFUSED)
def test_a_file_that_is_not_to_be_used_is_named_with_the_reason(place: Path, spoil: str) -> None:
    assert shim_of(place) == "io.containerd.runc.v2"
    make, reason = REFUSED[spoil]
    make(place)
    # Time of the processor, of which a gigabyte takes more; a FIFO would be waited for without an end.
    begun_s = time.process_time()
    assert reason in failure(place)
    assert "is not used: " in failure(place)
    assert time.process_time() - begun_s < 2


@needs_root
@pytest.mark.parametrize("spoiled", ["table.json", ""])
def test_a_file_of_another_user_is_used_by_that_user_only(place: Path, spoiled: str) -> None:
    os.chown(place / spoiled, NOBODY, NOBODY)
    reason = f"it belongs to user {NOBODY}, whom user 0 must not trust"
    assert reason in failure(place)
    assert as_user(NOBODY, partial(shim_of, place)) == "io.containerd.runc.v2"
    assert "must not trust" in as_user(1234, partial(failure, place))


@needs_root
def test_roots_file_is_used_by_the_users_who_may_read_it(place: Path) -> None:
    os.chown(place / "table.json", 0, NOBODY)
    assert as_user(NOBODY, partial(shim_of, place)) == "io.containerd.runc.v2"
    (place / "table.json").chmod(0o640)
    assert as_user(NOBODY, partial(shim_of, place)) == "io.containerd.runc.v2"
    assert "table.json cannot be read: Permission denied" in as_user(1234, partial(failure, place))


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (sends(answer({"status": 400, "code": "unknown-runtime", "detail": "no"}, 400)), UnknownRuntime),
        (sends(b"nonsense\r\n\r\n"), BadAnswer),
    ],
)
def test_an_answer_that_is_no_resolution_is_not_replaced_by_the_file(
    place: Path, new_client: NewClient, script: Script, error: type[ClientError]
) -> None:
    with fake_server(place / "s", script) as server, pytest.raises(error):
        new_client(server.path, timeout_s=PATIENCE_S).resolve("plain")


def hangs(connection: socket.socket) -> None:
    """Answer nothing until the client is gone."""
    connection.recv(1)


def test_a_daemon_that_does_not_answer_in_time_or_dies_is_replaced_by_the_file(
    place: Path, new_client: NewClient
) -> None:
    with fake_server(place / "s", hangs) as server:
        client = new_client(server.path, timeout_s=0.2)
        assert client.resolve("plain")["from"] == "file"
    with fake_server(place / "s2", hangs) as server, pytest.raises(TimedOut, match="has no runtime"):
        new_client(server.path, timeout_s=0.2).resolve("other")
    with fake_server(place / "s3", dies, dies) as server:
        assert new_client(server.path, timeout_s=PATIENCE_S).resolve("plain")["generation"] == 7


def test_the_file_of_the_systems_daemon_is_read_where_the_user_has_none(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = place / "own"
    own.mkdir(0o755)  # with a umask of 002 others could write it
    client = Client(str(own / "s"))
    client._requests._alternatives = [str(place / "s")]
    assert client.resolve("plain")["generation"] == 7
    assert client.socket == str(own / "s")


def test_runtimectl_says_that_it_read_the_file(place: Path) -> None:
    for more, expected in (((), "io.containerd.runc.v2"), (("--json",), '"from":"file"')):
        told = runtimectl("resolve", "plain", *more, on=f"{place}/s")
        assert (told.returncode, expected in told.stdout) == (0, True), told
        where = f"no daemon responds on {place}/s"
        assert told.stderr == f"note: {where}; this is generation 7 of the table file, table.json\n"
    told = runtimectl("resolve", "other", on=f"{place}/s")
    assert told.returncode == 2
    assert f"{place}/table.json (generation 7) has no runtime 'other'" in told.stderr
