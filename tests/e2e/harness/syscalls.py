"""The system calls with which a daemon changes its data root: recorded by strace, and made to kill or to fail.

strace is attached when the daemon is ready, and for a fault to the one thread that publishes. So the
n-th call of a name is counted from the trigger on and no other thread's calls count, whatever the
start did and however busy the machine is; and the threads that answer requests run at full speed.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.daemon import PATIENCE_S

from runtimed.core.history.layout import TABLE_FILE

# What changes a disk, and what a publish asks the disk on its way. Not close: strace would leave the descriptor open
# where Linux closes it in spite of an error.
CHANGING = (
    *("openat", "mkdir", "mkdirat", "symlink", "symlinkat", "link", "linkat", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "rmdir", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fchmod", "chmod"),
)
ASKING = ("statfs", "newfstatat", "getdents64")

_LINE = re.compile(r"(?P<name>\w+)\((?P<arguments>.*?)(?:\)\s+= (?P<result>.*)| <unfinished \.\.\.>.*)")
# Of a script, and of a part, whose whole name it is.
_DIGEST = re.compile(r"-[0-9a-f]{32}|\b[0-9a-f]{64}\b")
_WORD = re.compile(r'"([^"]*)"|\d<([^>]*)>')


@dataclass(frozen=True, slots=True)
class Call:
    """The ``ordinal``-th system call ``name`` that the publishing thread made, ``paths`` as from the data root.

    The table file, in the exec root, counts as below the data root.
    """

    name: str
    ordinal: int
    paths: tuple[str, ...]
    flags: str
    # Empty where it succeeded.
    errno: str

    @property
    def changes(self) -> bool:
        """Return whether the disk is not the same after it."""
        if self.name == "openat":
            return "O_CREAT" in self.flags
        return self.name in CHANGING and not self.errno

    def alters(self, path: str) -> bool:
        """Return whether it changes what is in the file or the directory ``path``."""
        if not self.changes or self.name in ("fsync", "fdatasync"):
            return False
        if self.name in ("write", "pwrite64", "ftruncate", "fchmod"):
            return self.paths == (path,)
        # The first word of a link is only what it says; of a name in an open directory the first is that directory.
        if self.name in ("unlinkat", "mkdirat"):
            return self.paths[0] == path
        named = self.paths[-1:] if self.name.startswith("symlink") else self.paths
        return any(os.path.dirname(one) == path for one in named)

    def __str__(self) -> str:
        return f"{self.name}#{self.ordinal}({', '.join(self.paths)})"


@dataclass(frozen=True, slots=True)
class Recording:
    """The calls of one publish below the data root, in order, and which of the process's threads made them."""

    calls: tuple[Call, ...]
    thread: int
    # All calls of the thread, also elsewhere.
    every: tuple[Call, ...]


def threads(pid: int) -> list[int]:
    """Return the ids of the threads of ``pid`` in the order in which they were made."""
    found = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    # Numbers start again from below when the highest is reached.
    return sorted(found, key=lambda tid: (tid < pid, tid))


@contextlib.contextmanager
def attached(log: Path, task: int, *options: str) -> Iterator[None]:
    """Have strace follow ``task`` and write to ``log`` until the end of the block, or of the process."""
    command = ["strace", "-y", "-s", "0", "-o", str(log), *options, "-p", str(task)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        try:
            assert "attached" in (line := strace.stderr.readline()), line + strace.stderr.read()
            yield
        finally:
            strace.terminate()
            strace.communicate(timeout=PATIENCE_S)


@contextlib.contextmanager
def recording(directory: Path, pid: int) -> Iterator[None]:
    """Record what every thread of ``pid`` does, a file in the new ``directory`` for each."""
    directory.mkdir()
    made_before = threads(pid)
    (directory / "threads").write_text(" ".join(map(str, made_before)))
    with attached(directory / "log", pid, "-ff", "-e", f"trace={','.join((*CHANGING, *ASKING))}"):
        yield


def read_recording(directory: Path, root: Path) -> Recording:
    """Return what the thread did that moved the link ``runtimes`` below ``root``."""
    made = (directory / "threads").read_text().split()
    for thread, tid in enumerate(made):
        log = directory / f"log.{tid}"
        calls = read_calls(log, root) if log.exists() else []
        if any(call.name.startswith("rename") and call.paths[-1] == "runtimes" for call in calls):
            return Recording(tuple(call for call in calls if call.paths), thread, tuple(calls))
    raise AssertionError("no thread published")


def read_calls(log: Path, root: Path) -> list[Call]:
    """Return all calls in the log of one thread; ``paths`` is empty where none is below ``root``."""
    return _parse(log.read_text().splitlines(), root)


def read_start(log: Path, root: Path) -> list[Call]:
    """Return the calls that changed what is below ``root``, of a log of all threads since the process began.

    Only those that a count finds again: of their name, no other thread had made as many before.
    """
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    threads_in_order = [tid for tid, rest in lines if _LINE.match(rest)]
    calls = {tid: iter(_parse([rest for one, rest in lines if one == tid], root)) for tid in {*threads_in_order}}
    reached = set()
    found = []
    for call in (next(calls[tid]) for tid in threads_in_order):
        if (call.name, call.ordinal) not in reached and call.paths and call.changes:
            found.append(call)
        reached.add((call.name, call.ordinal))
    return found


def _parse(lines: Iterable[str], root: Path) -> list[Call]:
    counts: Counter[str] = Counter()
    calls = []
    for line in lines:
        if (match := _LINE.match(line)) is None:
            continue
        name, arguments, result = match["name"], match["arguments"], match["result"] or ""
        counts[name] += 1
        # A path that is relative belongs to the directory's descriptor before it.
        words = [quoted or opened for quoted, opened in _WORD.findall(arguments.replace("AT_FDCWD<", "<"))]
        ours = any(word == str(root) or word.startswith(f"{root}/") or word.endswith(TABLE_FILE) for word in words)
        paths = tuple(os.path.relpath(word, root) if word.startswith("/") else word for word in words if word)
        # Launchers hold paths below the data root, so their digests differ from one data root to the next.
        paths = tuple(_DIGEST.sub("-*", path) for path in paths)
        errno = result.split()[1] if result.startswith("-1 ") else ""
        calls.append(Call(name, counts[name], paths if ours else (), arguments, errno))
    return calls


def from_the_beginning(log: Path, *options: str) -> list[str]:
    """Return what stands before a command so that strace follows all its threads; its process stays our child."""
    # Not with --seccomp-bpf, which loses the signal that a call is to die of.
    return ["strace", "-D", "-f", "-y", "-s", "0", "-o", str(log), *options]


def kill_at(call: Call) -> Sequence[str]:
    """Return the options of strace with which ``call`` is not made, and the process dies instead."""
    return "-e", f"trace={call.name}", "-e", f"inject={call.name}:signal=SIGKILL:when={call.ordinal}"


def fail_at(call: Call, error: str) -> Sequence[str]:
    """Return the options of strace with which ``call`` is not made, and fails with ``error``."""
    return "-e", f"trace={call.name}", "-e", f"inject={call.name}:error={error}:when={call.ordinal}"


def fail_from(found: Recording, call: Call, error: str) -> Sequence[str]:
    """Return the options of strace with which ``call`` and all later ones that would change the disk fail."""
    before = Counter(one.name for one in found.every[: found.every.index(call)])
    # One that only opens to look is not told from one that creates.
    options = [("-e", f"inject={name}:error={error}:when={before[name] + 1}+") for name in CHANGING]
    return "-e", f"trace={','.join(CHANGING)}", *(word for option in options for word in option)


def injected(log: Path, root: Path) -> Call:
    """Return the call below ``root`` that was made to fail first, or that the process died of.

    Calls elsewhere are not recorded: between the rename and the last fsync, the file of the newest number is replaced.
    """
    lines = [line for line in log.read_text().splitlines() if _LINE.match(line)]
    marked = [number for number, line in enumerate(lines) if "(INJECTED)" in line]
    calls = read_calls(log, root)
    assert calls, "the fault hit nothing"
    return next((calls[number] for number in marked if calls[number].paths), calls[-1])
