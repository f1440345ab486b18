"""Probes of real programs, among them programs that hang, print without end, fork or crash."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, wait_until

from runtimed.core.features import Features
from runtimed.host import features as module
from runtimed.host.features import RETRY_S, Prober, replaceable
from runtimed.host.features.command import run_command
from runtimed.host.features.probe import Probe
from runtimed.host.trust import Trust, walk

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
TRUST = Trust(frozenset({0, os.geteuid()}))
trusted = partial(replaceable, walk=partial(walk, trust=TRUST))
STRUCTURE = '{"ociVersionMin": "1.0.0", "ociVersionMax": "1.2.0"}'
GOOD = f"[ \"$1\" = features ] && echo '{STRUCTURE}'"
MIB = 1024 * 1024
# Not the virtual environment's link to it: where the umask is 002, a group may write that directory.
INTERPRETER = os.path.realpath(sys.executable)
# Differs from the sleeps of other tests and programs.
SLEEP = f"sleep 86399.{os.getpid()}"


def program(path: Path, body: str, interpreter: str = "/bin/sh") -> str:
    """Put a script at ``path`` by rename, so that no probe runs half of it."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(f"#!{interpreter}\n{body}\n")
    new.chmod(0o755)
    new.rename(path)
    return str(path)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> set[str]:
    # The children of all threads, zombies included. A thread may end meanwhile.
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update((task / "children").read_text().split())
    return found


def running(of: Path) -> dict[int, str]:
    """Return the processes that run a program below the directory ``of``, and the sleeps of this test run."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if f"{of}/" in command or command.strip() == SLEEP:
                found[int(process.name)] = command
    return found


class Log:
    """The results that the prober has reported, in order."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Features]] = []

    def __call__(self, binary: str, features: Features) -> None:
        self.lines.append((binary, features))

    def reasons(self) -> list[str]:
        return [str(features.reason) for _, features in self.lines]


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def no_process_or_descriptor_is_left(tmp_path: Path) -> Iterator[None]:
    before = descriptors(), children(), threading.active_count()
    yield
    try:
        wait_until(lambda: not running(tmp_path), f"the end of {running(tmp_path)}")
    finally:
        for pid in running(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    # Not equal: what other tests have left may end meanwhile.
    wait_until(
        lambda: descriptors() <= before[0] and children() <= before[1] and threading.active_count() <= before[2],
        "everything returned",
    )


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def make(log: Log) -> Iterator[Callable[..., Prober]]:
    made: list[Prober] = []

    def make(**more: object) -> Prober:
        # Far longer than a machine under load needs; tests of hanging binaries set less.
        arguments = {"trusted": trusted, "on_result": log, "timeout_s": PATIENCE_S, **more}
        made.append(Prober(**arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for prober in made:
        prober.stop()


@pytest.fixture
def prober(make: Callable[..., Prober]) -> Prober:
    return make()


def settled(prober: Prober, binary: str) -> Features:
    """Return the features of ``binary`` as soon as its probe has ended."""

    def answer() -> Features | None:
        return None if (found := prober.get(binary)).status == "pending" else found

    found = wait_until(answer, f"an answer about {binary}")
    assert isinstance(found, Features)
    return found


def wait_for_the_end(prober: Prober) -> None:
    """Wait until no probe runs: a result is known before it is reported."""
    wait_until(lambda: not prober._busy, "the end of the probes")


# ── Results ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_binary_is_probed_once(prober: Prober, log: Log, tmp_path: Path) -> None:
    binary = program(tmp_path / "runtime", f'echo "$@" >> {tmp_path}/runs\n{GOOD}')
    assert prober.get(binary).status == "pending"
    found = settled(prober, binary)
    assert (found.status, found.features, found.reason) == ("known", json.loads(STRUCTURE), None)
    for _ in range(20):
        prober.want([binary])
        assert prober.get(binary) is found
        wait_for_the_end(prober)
    assert (tmp_path / "runs").read_text() == "features\n"
    assert log.lines == [(binary, found)]


def test_wanted_binaries_are_probed_without_a_get(prober: Prober, log: Log, tmp_path: Path) -> None:
    binaries = [program(tmp_path / name, GOOD) for name in "abc"]
    prober.want([*binaries, *binaries, "runc", "bin/runc", ""])
    wait_until(lambda: len(log.lines) == 3, "three results")
    assert {prober.get(binary).status for binary in binaries} == {"known"}
    assert sorted(binary for binary, _ in log.lines) == binaries


def test_the_version_is_known_where_the_features_are_not(prober: Prober, tmp_path: Path) -> None:
    body = '[ "$1" = --version ] && echo "own version 7" && exit 0; echo "unknown command $1" >&2; exit 1'
    found = settled(prober, program(tmp_path / "crun", body))
    assert (found.status, found.version) == ("unknown", "own version 7")
    assert found.reason == "`features` ended with exit status 1: unknown command features"


@pytest.mark.parametrize(
    ("name", "status", "version"),
    [("runc", "known", None), ("crun", "unknown", "crun version"), ("runsc", "unknown", "runsc version")],
)
def test_the_real_runtimes_answer(prober: Prober, name: str, status: str, version: str | None) -> None:
    if (binary := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    found = settled(prober, binary)
    if found.status == "known":
        assert found.features is not None
        assert found.features["ociVersionMin"]
    else:
        # Newer ones than Debian 12's know the command.
        assert (found.status, str(found.version)[: len(str(version))]) == (status, version)


def test_a_relative_path_is_not_probed(prober: Prober) -> None:
    assert prober.get("runc").status == "unknown"
    assert "relative" in str(prober.get("bin/runc").reason)


def test_a_binary_inherits_nothing_of_the_daemon(
    prober: Prober, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)  # as a library might do
    body = (
        "import os, json, sys\n"
        "print(json.dumps({\n"
        "  'env': dict(os.environ), 'cwd': os.getcwd(), 'argv': sys.argv[1:], 'sid': os.getsid(0) == os.getpid(),\n"
        "  'fds': [n for n in range(999) if os.path.exists(f'/dev/fd/{n}')], 'stdin': os.readlink('/dev/fd/0'),\n"
        "}))"
    )
    try:
        features = settled(prober, program(tmp_path / "runtime", body, f"{INTERPRETER} -I")).features
    finally:
        os.close(read)
        os.close(write)
    assert features is not None
    environment = features["env"]
    assert isinstance(environment, dict)
    assert environment.pop("LC_CTYPE", "C.UTF-8") == "C.UTF-8"  # set by CPython (PEP 538)
    assert environment == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C",
        "HOME": "/",
    }
    assert (features["fds"], features["stdin"]) == ([0, 1, 2], "/dev/null")
    assert (features["cwd"], features["sid"], features["argv"]) == ("/", True, ["features"])


# ── Binaries that misbehave ────────────────────────────────────────────────────────────────────────────────────────

PYTHON = f"{INTERPRETER} -IS"


@pytest.mark.parametrize(
    ("body", "interpreter", "expected"),
    [
        # hangs
        (SLEEP, "/bin/sh", "`features` did not end within 0.5 s and was killed"),
        # ignores signals
        ("trap '' TERM INT HUP; while :; do sleep 0.1; done", "/bin/sh", "did not end within 0.5 s"),
        # closes its ends of the pipes and stays
        (f"exec >&- 2>&-; {SLEEP}", "/bin/sh", "did not end within 0.5 s"),
        # prints its features, and stays
        (f"{GOOD}; {SLEEP}", "/bin/sh", "did not end within 0.5 s"),
        # stops itself
        ("kill -STOP $$", "/bin/sh", "did not end within 0.5 s"),
        # prints without end, quickly, slowly, and to the other pipe
        ("yes", "/bin/sh", "`features` printed more than 1,048,576 bytes and was killed"),
        ("while :; do echo x; sleep 0.01; done", "/bin/sh", "did not end within 0.5 s"),
        ("yes >&2", "/bin/sh", "printed more than 1,048,576 bytes"),
        # forks without end (and sleeps, for the sake of this machine)
        (f"while :; do {SLEEP} & sleep 0.01; done", "/bin/sh", "did not end within 0.5 s"),
        # is no runtime
        ("echo hello", "/bin/sh", "what `features` prints is not JSON (Expecting value: line 1 column 1 (char 0))"),
        ("", "/bin/sh", "is empty, not a JSON object"),
        ("echo '[1]'", "/bin/sh", "is not a JSON object"),
        ("head -c 300000 /dev/zero", "/bin/sh", "is 300,000 bytes long"),
        # crashes after it has printed its features
        (f"echo '{STRUCTURE}'; kill -SEGV $$", "/bin/sh", "`features` was ended by signal 11"),
        ("import os; os.abort()", PYTHON, "was ended by signal 6"),
        # cannot be run at all
        ("", "/none/such", "the binary cannot be executed: no such file or directory"),
    ],
    # The same names in every process of a run.
    ids=lambda value: value.replace(str(os.getpid()), "PID"),
)  # fmt: skip
def test_a_binary_that_misbehaves_has_a_reason(
    make: Callable[..., Prober], log: Log, tmp_path: Path, body: str, interpreter: str, expected: str
) -> None:
    if "kill -SEGV" in body or "abort" in body:
        body = f"ulimit -c 0; {body}" if interpreter == "/bin/sh" else body
    binary = program(tmp_path / "runtime", body, interpreter)
    prober = make(timeout_s=0.5 if "did not end" in expected else PATIENCE_S)
    found = settled(prober, binary)
    assert (found.status, found.features) == ("unknown", None)
    assert expected in str(found.reason)
    wait_until(lambda: not running(tmp_path), "the end of all that was killed")
    for _ in range(3):
        prober.want([binary])
        wait_for_the_end(prober)
        assert settled(prober, binary) is found
    assert log.lines == [(binary, found)]


@pytest.mark.parametrize(
    "grandchild",
    [
        f"( while :; do sleep 0.1; done ) &\n{GOOD}",  # holds both pipes
        f"( trap '' TERM HUP; while :; do sleep 0.1; done ) &\n( yes >/dev/null ) &\n{GOOD}",
    ],
)
def test_grandchildren_that_hold_the_pipes_delay_no_probe(prober: Prober, tmp_path: Path, grandchild: str) -> None:
    began = time.monotonic()
    assert settled(prober, program(tmp_path / "runtime", grandchild)).status == "known"
    assert time.monotonic() - began < PATIENCE_S  # which a run may take
    wait_until(lambda: not running(tmp_path), "the grandchildren's end")


def test_a_grandchild_in_another_session_writes_into_a_closed_pipe(prober: Prober, tmp_path: Path) -> None:
    program(tmp_path / "away", f"echo $$ > {tmp_path}/pid; while echo x; do sleep 0.05; done")
    body = f"setsid {tmp_path}/away &\nwhile ! [ -s {tmp_path}/pid ]; do sleep 0.01; done\nexit 3"
    found = settled(prober, program(tmp_path / "runtime", body))
    assert "ended with exit status 3" in str(found.reason)
    wait_until(lambda: not running(tmp_path), "its end")


def test_long_output_on_stderr_blocks_no_probe(prober: Prober, tmp_path: Path) -> None:
    # More than a pipe holds: the probe must read both pipes.
    body = f"head -c 900000 /dev/zero >&2; {GOOD}"
    assert settled(prober, program(tmp_path / "runtime", body)).status == "known"


def test_the_kept_part_of_endless_output_is_bounded(tmp_path: Path) -> None:
    binary = program(tmp_path / "runtime", "yes & yes >&2")
    outcome = run_command((binary,), timeout_s=PATIENCE_S, output_bytes=MIB, stopped=threading.Event())
    assert outcome.cut_short is not None
    assert len(outcome.stdout) <= MIB + 1
    assert len(outcome.stderr) <= MIB + 1


@pytest.mark.parametrize(
    ("make_it", "expected"),
    [
        (lambda path: None, "there is no binary to probe: no such file or directory"),
        (lambda path: path.mkdir(), "there is no binary to probe: is not a regular file"),
        (os.mkfifo, "there is no binary to probe: is not a regular file"),
        (lambda path: path.symlink_to(path), "there is no binary to probe: too many levels of symbolic links"),
        (lambda path: (path.write_text("#!/bin/sh\n"), path.chmod(0o644)), "cannot be executed: permission denied"),
        (lambda path: (path.write_bytes(b"\x7fELFnot"), path.chmod(0o755)), "cannot be executed: exec format error"),
        (lambda path: (path.write_text("echo {}"), path.chmod(0o755)), "cannot be executed: exec format error"),
    ],
)
def test_a_file_that_cannot_be_executed_has_a_reason(
    prober: Prober, tmp_path: Path, make_it: Callable[[Path], object], expected: str
) -> None:
    make_it(tmp_path / "runtime")
    assert expected in str(settled(prober, f"{tmp_path}/runtime").reason)


def test_a_path_with_a_nul_byte_is_unknown(prober: Prober) -> None:
    assert "no such file" in str(settled(prober, "/a\0b").reason)


# ── Binaries that others could replace ─────────────────────────────────────────────────────────────────────────────


def side_effect(tmp_path: Path) -> str:
    return f"echo ran >> {tmp_path}/ran; {GOOD}"


def bad_binary(tmp_path: Path) -> tuple[str, Path]:
    binary = program(tmp_path / "runtime", side_effect(tmp_path))
    os.chmod(binary, 0o757)
    return binary, Path(binary)


def bad_directory(tmp_path: Path) -> tuple[str, Path]:
    binary = program(tmp_path / "bin" / "runtime", side_effect(tmp_path))
    (tmp_path / "bin").chmod(0o775)
    return binary, tmp_path / "bin"


def bad_directory_of_a_link(tmp_path: Path) -> tuple[str, Path]:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    link = tmp_path / "open" / "runtime"
    link.symlink_to(program(tmp_path / "bin" / "runtime", side_effect(tmp_path)))
    return str(link), tmp_path / "open"


def bad_target_of_a_link(tmp_path: Path) -> tuple[str, Path]:
    binary, bad = bad_directory(tmp_path)
    (tmp_path / "runtime").symlink_to(binary)
    return f"{tmp_path}/runtime", bad


def bad_interpreter(tmp_path: Path) -> tuple[str, Path]:
    (tmp_path / "open").mkdir()
    shutil.copy("/bin/sh", tmp_path / "open" / "sh")
    (tmp_path / "open" / "sh").chmod(0o777)
    return program(tmp_path / "runtime", side_effect(tmp_path), f"{tmp_path}/open/sh -e"), tmp_path / "open" / "sh"


@pytest.mark.parametrize(
    "arrange", [bad_binary, bad_directory, bad_directory_of_a_link, bad_target_of_a_link, bad_interpreter]
)
def test_a_binary_that_others_could_replace_is_not_executed_until_corrected(
    prober: Prober, log: Log, tmp_path: Path, arrange: Callable[[Path], tuple[str, Path]]
) -> None:
    binary, bad = arrange(tmp_path)
    for _ in range(3):
        prober.want([binary])
        found = settled(prober, binary)
        assert (found.status, found.version) == ("unknown", None)
        assert str(found.reason).startswith("the binary was not probed, because another user could replace it: ")
        assert str(bad) in str(found.reason)
        assert "chmod go-w" in str(found.reason)
        wait_for_the_end(prober)
    assert len(log.lines) == 1
    assert not (tmp_path / "ran").exists()
    # The new mode of the directory counts, although the binary has not changed.
    bad.chmod(0o755)
    assert settled(prober, binary).status == "known"
    assert (tmp_path / "ran").read_text() == "ran\n"
    wait_for_the_end(prober)
    assert len(log.lines) == 2


@needs_root
@pytest.mark.parametrize("bad", ["runtime", "directory"])
def test_root_executes_no_binary_of_another_user(prober: Prober, tmp_path: Path, bad: str) -> None:
    binary = program(tmp_path / "bin" / "runtime", side_effect(tmp_path))
    os.chown(binary if bad == "runtime" else tmp_path / "bin", 65534, 65534)
    assert "belongs to user id 65534" in str(settled(prober, binary).reason)
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_in_a_trusted_directory_is_not_replaceable(tmp_path: Path) -> None:
    assert trusted(f"{tmp_path}/none") is None
    assert trusted("/usr/bin/env") is None
    assert "is not a directory" in str(trusted("/usr/bin/env/x"))


# ── Binaries that change ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_replaced_binary_is_probed_and_reported_again(prober: Prober, log: Log, tmp_path: Path) -> None:
    binary = program(tmp_path / "runtime", "echo one >&2; exit 1")
    assert "one" in str(settled(prober, binary).reason)
    program(tmp_path / "runtime", "echo two >&2; exit 1")
    assert prober.get(binary).status == "pending"
    assert "two" in str(settled(prober, binary).reason)
    program(tmp_path / "runtime", GOOD)
    assert settled(prober, binary).status == "known"
    (tmp_path / "runtime").unlink()
    assert "no such file" in str(settled(prober, binary).reason)
    program(tmp_path / "runtime", GOOD)
    prober.want([binary])
    assert settled(prober, binary).status == "known"
    wait_for_the_end(prober)
    assert [features.status for _, features in log.lines] == ["unknown", "unknown", "known", "unknown", "known"]


def test_a_change_of_mode_is_a_change(prober: Prober, tmp_path: Path) -> None:
    binary = program(tmp_path / "runtime", GOOD)
    os.chmod(binary, 0o644)
    assert "permission denied" in str(settled(prober, binary).reason)
    os.chmod(binary, 0o755)
    assert settled(prober, binary).status == "known"


def test_a_link_that_leads_elsewhere_is_a_change(prober: Prober, tmp_path: Path) -> None:
    program(tmp_path / "v1", GOOD)
    program(tmp_path / "v2", "exit 5")
    link = tmp_path / "runtime"
    link.symlink_to("v1")
    assert settled(prober, str(link)).status == "known"
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").rename(link)
    assert "exit status 5" in str(settled(prober, str(link)).reason)


@pytest.mark.parametrize("wanted_by", ["want", "get"])
def test_a_binary_that_is_replaced_during_its_probe_is_probed_again(
    prober: Prober, log: Log, tmp_path: Path, wanted_by: str
) -> None:
    binary = program(tmp_path / "runtime", f"touch {tmp_path}/up; while ! [ -e {tmp_path}/go ]; do sleep 0.01; done")
    prober.want([binary])
    wait_until((tmp_path / "up").exists, "its start")
    program(tmp_path / "runtime", GOOD)
    if wanted_by == "want":
        prober.want([binary])
    else:
        assert prober.get(binary).status == "pending"
    (tmp_path / "go").touch()
    wait_until(lambda: len(log.lines) == 2, "a result for each")
    assert [features.status for _, features in log.lines] == ["unknown", "known"]
    assert prober.get(binary).status == "known"


def test_a_binary_that_is_replaced_while_its_result_is_reported_is_probed_again(
    make: Callable[..., Prober], tmp_path: Path
) -> None:
    begun, release = threading.Event(), threading.Event()
    reported: list[str] = []

    def report(_binary: str, features: Features) -> None:
        begun.set()
        release.wait(PATIENCE_S)
        reported.append(features.status)

    prober = make(on_result=report)
    binary = program(tmp_path / "runtime", "exit 1")
    prober.want([binary])
    assert begun.wait(PATIENCE_S)
    program(tmp_path / "runtime", GOOD)
    prober.want([binary])
    release.set()
    wait_until(lambda: reported == ["unknown", "known"], "a result for each")


def test_a_binary_that_timed_out_is_probed_again_and_reported_if_it_differs(
    make: Callable[..., Prober], log: Log, tmp_path: Path
) -> None:
    clock = Clock()
    prober = make(timeout_s=0.5, clock=clock)
    binary = program(tmp_path / "runtime", f"[ -e {tmp_path}/ok ] || {SLEEP}; {GOOD}")
    prober.want([binary])
    wait_until(lambda: log.lines, "a result")
    first = prober._results[binary]
    clock.now_s += RETRY_S
    prober.want([binary])
    wait_until(lambda: prober._results[binary] is not first, "a second try")
    (tmp_path / "ok").touch()
    wait_for_the_end(prober)
    prober._probe = Probe(trusted, PATIENCE_S, MIB, prober._stopped)
    clock.now_s += RETRY_S
    wait_until(lambda: prober.get(binary).status == "known", "an answer")
    wait_for_the_end(prober)
    assert [features.status for _, features in log.lines] == ["unknown", "known"]


def test_a_binary_that_is_being_written_is_probed_again(make: Callable[..., Prober], tmp_path: Path) -> None:
    clock = Clock()
    prober = make(clock=clock)
    binary = program(tmp_path / "runtime", GOOD)
    with open(binary, "r+b"):
        prober.want([binary])
        # Linux 6.11 and 6.12 let it run.
        wait_until(lambda: binary in prober._results, "a result")
        assert prober._results[binary].finding.features.reason in (
            None,
            "the binary cannot be executed: text file busy",
        )
    clock.now_s += RETRY_S
    wait_until(lambda: prober.get(binary).status == "known", "an answer")


def test_only_so_many_results_are_kept(
    make: Callable[..., Prober], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    prober = make()
    wanted = [program(tmp_path / f"w{n}", GOOD) for n in range(3)]
    prober.want(wanted)
    for binary in wanted:
        settled(prober, binary)
    for number in range(6):
        settled(prober, f"{tmp_path}/none{number}")
    wait_for_the_end(prober)
    assert len(prober._results) == 5


# ── Many at a time, and the end ────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_binaries_are_probed_a_few_at_a_time_and_the_loop_goes_on(
    make: Callable[..., Prober], log: Log, tmp_path: Path
) -> None:
    prober = make(concurrency=8)
    trace, go = tmp_path / "trace", tmp_path / "go"
    trace.touch()
    body = f"echo + >> {trace}; while ! [ -e {go} ]; do sleep 0.01; done; echo - >> {trace}; {GOOD}"
    binaries = [program(tmp_path / f"r{number}", body) for number in range(50)]
    prober.want(binaries)
    # After a call that waits for the probes, or in a loop that they block, they would never be released.
    async with asyncio.timeout(PATIENCE_S):
        while len(trace.read_text().split()) < 8:
            await asyncio.sleep(0.001)
        go.touch()
        while len(log.lines) < 50:
            await asyncio.sleep(0.001)
    assert {prober.get(binary).status for binary in binaries} == {"known"}
    at_a_time = [0]
    for sign in trace.read_text().split():
        at_a_time.append(at_a_time[-1] + (1 if sign == "+" else -1))
    assert max(at_a_time) == 8


def test_binaries_that_hang_do_not_delay_all_others(make: Callable[..., Prober], tmp_path: Path) -> None:
    prober = make()
    hanging = [program(tmp_path / f"hang{number}", SLEEP) for number in range(3)]
    prober.want(hanging)
    assert settled(prober, program(tmp_path / "runtime", GOOD)).status == "known"
    assert {prober.get(binary).status for binary in hanging} == {"pending"}


def test_a_stop_kills_running_binaries_and_starts_no_other(prober: Prober, log: Log, tmp_path: Path) -> None:
    body = f"trap '' TERM; echo x >> {tmp_path}/up; while :; do sleep 0.1; done"
    binaries = [program(tmp_path / f"r{number}", body) for number in range(9)]
    prober.want(binaries)
    wait_until(lambda: (tmp_path / "up").exists() and (tmp_path / "up").read_text() == "x\n" * 4, "four of them")
    began = time.monotonic()
    prober.stop()
    assert time.monotonic() - began < PATIENCE_S  # which a run may take
    wait_until(lambda: not running(tmp_path), "the end of all that was killed")
    prober.want(binaries)
    assert prober.get(binaries[0]).status == "pending"
    prober.stop()
    assert (tmp_path / "up").read_text() == "x\n" * 4
    assert log.lines == []


def test_a_thread_that_a_file_system_holds_is_replaced(make: Callable[..., Prober], tmp_path: Path) -> None:
    release = threading.Event()

    def held(path: str) -> str | None:
        if "dead" in path:
            release.wait()
        return trusted(path)

    clock = Clock()
    prober = make(trusted=held, concurrency=2, clock=clock)
    try:
        dead = [program(tmp_path / f"dead{number}", GOOD) for number in range(3)]
        prober.want(dead)
        wait_until(lambda: {binary for binary, _ in prober._busy.values()} == {*dead[:2]}, "two probes")
        clock.now_s += 2 * prober._overdue_s
        assert settled(prober, program(tmp_path / "runtime", GOOD)).status == "known"
        assert "check the file system of the binary" in str(prober.get(dead[0]).reason)
        # The number of threads is bounded.
        for number in range(20):
            prober.want([program(tmp_path / f"dead1{number}", GOOD)])
            wait_until(lambda: "" not in {binary for binary, _ in prober._busy.values()}, "the started threads")
            clock.now_s += 2 * prober._overdue_s
        assert len(prober._busy) <= 8
        prober.stop()
    finally:
        release.set()


def test_binaries_are_probed_although_sigchld_is_ignored(tmp_path: Path) -> None:
    binary = program(tmp_path / "runtime", f"( while :; do sleep 0.1; done ) & {GOOD}")
    script = (
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from runtimed.host.features.command import run_command\n"
        "print(run_command((sys.argv[1], 'features'), timeout_s=60, output_bytes=9999, stopped=threading.Event()))\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, binary],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "ociVersionMin" in run.stdout
    assert "cut_short=None" in run.stdout
