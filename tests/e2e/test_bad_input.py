"""Whatever may stand where a configuration should be: refused in words that help, and nobody is kept waiting.

Needs root: some of these cannot be made without it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from harness.daemon import RunningDaemon, new_daemon, put, wait_until

OLD = {"path": "/bin/echo", "runtimeArgs": ["old"]}
OLD_TEXT = json.dumps({"runtimes": {"w": OLD}})


@dataclass(frozen=True)
class Bad:
    """Something that stands in place of a file: how it is made, and the words that the message must hold.

    ``{path}`` in a word stands for the file's own path; ``found`` is what the message says was there.
    """

    make: Callable[[Path], object]
    words: tuple[str, ...]


def text(content: str | bytes, *words: str) -> Bad:
    return Bad(lambda path: put(path, content), words)


def owned(path: Path) -> None:
    put(path, "{}")
    os.chown(path, 65534, 65534)


def moded(mode: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        put(path, "{}")
        path.chmod(mode)

    return make


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)


def linked(path: Path) -> None:
    link = path.with_name(f"{path.name}.link")
    link.symlink_to("/no/such/file")
    link.rename(path)


def linked_in_a_circle(path: Path) -> None:
    path.symlink_to(path.name)


CHARACTER_DEVICE = stat.S_IFCHR | 0o600
RUNTIMES = '{"runtimes": {"w": {"path": "/bin/echo"}'

BAD = {
    "half-written": text(RUNTIMES, "{path}:1:41", "the end of the file", "cut off"),
    "empty": text("", "blank", "write {{}}"),
    "blank": text(" \n\n", "blank", "write {{}}"),
    "binary": text(b"\x7fELF\x02\x01\x01\x00\xff\xfe\x00", "{path}:1:"),
    "not UTF-8": text(b'{"runtimes": {"caf\xe9": {"path": "/x"}}}', "0xe9", "offset 18", "save the file as UTF-8"),
    "huge": Bad(huge, ("too big", "104,857,600", "check that it is the right file")),
    "a million brackets": text('{"runtimes": ' + "[" * 1_000_000, "{path}:1:", "nest"),
    "deeply nested": text('{"a":' * 100_000 + "1" + "}" * 100_000, "{path}:1:", "nest"),
    "duplicate key": text('{\n"runtimes": {},\n"runtimes": {}\n}', "{path}:3:1", "runtimes", "lines 2 and 3"),
    "same key in another case": text(
        '{"runtimes": {"w": {\n"path": "/x",\n"Path": "/y"}}}', "{path}:3:1", "/runtimes/w/Path", "lines 2 and 3"
    ),
    "a list": text("[]", "{path}:1:1", "found a list", "expected an object"),
    "wrong type": text(
        '{"runtimes": {"w": {"path": 7}}}', "{path}:1:29", "/runtimes/w/path", "found 7", "expected a string"
    ),
    "wrong type of arguments": text(
        '{"runtimes": {"w": {"path": "/x", "runtimeArgs": "a b"}}}', "/runtimes/w/runtimeArgs", "a list of strings"
    ),
    "NaN": text('{"max-download-attempts": NaN}', "{path}:1:27", "NaN"),
    "infinity": text('{"max-download-attempts": -Infinity}', "{path}:1:27", "Infinity"),
    "lone surrogate": text('{"runtimes": {"\\ud800": {"path": "/x"}}}', "{path}:1:", "surrogate"),
    "NUL": text('{"runtimes": {"w": {"path": "/x\\u0000"}}}', "{path}:1:", "NUL"),
    "endless number": text('{"mtu": ' + "9" * 10_000 + "}", "{path}:1:9", "digits"),
    "trailing data": text("{}\n{}", "{path}:2:1"),
    "misspelt key": text('{"runtime": {}}', "{path}:1:2", "did you mean", "runtimes"),
    "argument that no exec takes": text(
        json.dumps({"runtimes": {"w": {"path": "/x", "runtimeArgs": ["x" * 140_000]}}}), "140,000 bytes", "131,071"
    ),
    "wrong owner": Bad(owned, ("user id 65534", "could use it to become root", "run: chown root:")),
    "group-writable": Bad(moded(0o664), ("mode 0664", "its group", "run: chmod go-w")),
    "writable by all": Bad(moded(0o666), ("mode 0666", "everybody", "run: chmod go-w")),
    "link to a file that is gone": Bad(
        lambda path: path.symlink_to(f"{path}.gone"),
        ("symbolic link", "{path}.gone", "create that file, or remove the link"),
    ),
    "link to nowhere": Bad(linked, ("symbolic link", "/no/such/file", "create that file, or remove the link")),
    "circle of links": Bad(linked_in_a_circle, ("symbolic links", "circle")),
    "FIFO": Bad(os.mkfifo, ("is a FIFO (named pipe), not a regular file",)),
    "directory": Bad(Path.mkdir, ("is a directory, not a regular file",)),
    "socket": Bad(lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), ("is a socket, not a regular file",)),
    "endless device": Bad(
        lambda path: os.mknod(path, CHARACTER_DEVICE, os.makedev(1, 5)), ("is a character device, not a regular file",)
    ),
    "empty device": Bad(
        lambda path: os.mknod(path, CHARACTER_DEVICE, os.makedev(1, 3)), ("is a character device, not a regular file",)
    ),
}


@pytest.fixture(params=["file", "drop-in"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    assert os.geteuid() == 0, "these tests need root"
    with new_daemon() as daemon:
        yield daemon


def set_up(daemon: RunningDaemon, place: str) -> Path:
    """Write a good configuration, and return the path of the document that is to become bad."""
    daemon.write(OLD_TEXT if place == "file" else "{}")
    path = daemon.config if place == "file" else daemon.dropins / "50-x.json"
    put(path, OLD_TEXT)
    return path


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Have ``make`` put something else at ``path``."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    make(path)


def helps(message: str, path: Path, bad: Bad) -> None:
    for word in (str(path), *(word.format(path=path) for word in bad.words)):
        assert word in message, (word, message)
    assert len(message) < 1000, "nobody reads more"
    assert message.isprintable(), "one line"


@pytest.mark.parametrize("case", BAD)
def test_it_is_refused_the_old_answers_go_on_and_the_next_good_file_is_applied(
    daemon: RunningDaemon, place: str, case: str
) -> None:
    bad = BAD[case]
    path = set_up(daemon, place)
    before = daemon.start().resolve("w")
    with daemon.paused():
        replace(path, bad.make)
    status, report = daemon.ask("POST", "/v1/reload")
    assert (status, report["outcome"]) == (422, "rejected")
    assert len(report["problems"]) == 1, report["problems"]
    (problem,) = report["problems"]
    assert problem["file"] == str(path)
    wait_until(lambda: daemon.reloads("rejected"), "the log line")
    helps(daemon.reloads("rejected")[-1]["problems"][0], path, bad)
    assert problem["found"]
    assert problem["expected"]
    assert daemon.resolve("w") == before
    assert daemon.status()["health"]["status"] == "degraded"
    with daemon.paused():
        replace(path, lambda path: put(path, json.dumps({"runtimes": {"w": OLD, "new": OLD}})))
    wait_until(lambda: daemon.get("/v1/resolve?runtime=new")[0] == 200, "the good file to be applied")
    assert daemon.resolve("w")["options"] == before["options"]
    assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
    assert daemon.stop() == 0


@pytest.mark.parametrize("case", BAD)
def test_a_first_start_with_it_fails_and_says_why(daemon: RunningDaemon, place: str, case: str) -> None:
    path = set_up(daemon, place)
    replace(path, BAD[case].make)
    output = daemon.fail_to_start()
    (event,) = [e for e in daemon.log() if e["event"] == "start.failed"]
    assert event["code"] == "start-failed", output
    (message,) = event["problems"]
    helps(message, path, BAD[case])


def test_a_file_that_is_noticed_by_itself_is_refused_as_well(daemon: RunningDaemon, place: str) -> None:
    # The same through the watcher: one that opens what it is shown would hang on a FIFO.
    path = set_up(daemon, place)
    before = daemon.start().resolve("w")
    for number, case in enumerate(("FIFO", "binary", "endless device", "directory", "wrong owner", "huge"), 1):
        with daemon.paused():
            replace(path, BAD[case].make)
        wait_until(partial(has_rejected, daemon, number), case)
        wait_until(partial(has_reason, daemon, BAD[case].words[-1].format(path=path)), case)
        assert daemon.resolve("w") == before
        assert daemon.get("/healthz")[0] == 200
    with daemon.paused():
        replace(path, lambda path: put(path, OLD_TEXT))
    wait_until(lambda: daemon.status()["health"]["status"] == "ok", "the good file to be applied")
    assert daemon.resolve("w") == before


def has_rejected(daemon: RunningDaemon, times: int) -> bool:
    return len(daemon.reloads("rejected")) >= times


def has_reason(daemon: RunningDaemon, words: str) -> bool:
    return words in daemon.status()["health"]["reasons"].get("configuration", "")


@pytest.mark.parametrize("what", ["file", "drop-in", "directory of drop-ins"])
def test_what_may_not_be_read_is_refused_with_the_command_that_helps(what: str) -> None:
    # As under a hardened unit: root without the capabilities that let root read everything.
    gone = "-dac_override,-dac_read_search"
    with new_daemon(["setpriv", f"--bounding-set={gone}", f"--inh-caps={gone}"]) as daemon:
        path = set_up(daemon, "file" if what == "file" else "drop-in")
        path = daemon.dropins if what == "directory of drop-ins" else path
        before = daemon.start().resolve("w")
        mode = path.stat().st_mode
        path.chmod(0)
        status, report = daemon.ask("POST", "/v1/reload")
        assert (status, report["outcome"]) == (422, "rejected")
        (problem,) = report["problems"]
        assert problem["file"] == str(path)
        for word in ("permission denied", "mode 0000", "user id 0", "chmod u+r"):
            assert word in problem["message"]
        assert daemon.resolve("w") == before
        path.chmod(mode)
        wait_until(lambda: daemon.status()["health"]["status"] == "ok", "the good file to be applied")
        assert daemon.stop() == 0


def test_a_file_that_never_stops_changing_is_refused_in_the_end(daemon: RunningDaemon) -> None:
    path = set_up(daemon, "file")
    before = daemon.start().resolve("w")
    child = os.fork()
    if child == 0:
        try:
            while True:
                with path.open("r+") as file:
                    file.write(OLD_TEXT)
        finally:
            os._exit(1)
    try:
        # Whether a reading finds it changing is a matter of luck; that there is an answer, and which, is not.
        reports = [daemon.reload() for _ in range(10)]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for report in reports:
        assert report["outcome"] in ("unchanged", "rejected")
        for problem in report["problems"]:
            assert problem["file"] == str(path)
            assert "kept changing while it was read" in problem["message"]
    assert daemon.resolve("w") == before
    put(path, OLD_TEXT)
    assert daemon.reload()["outcome"] == "unchanged"
