"""Reads the output of a test's script, judges the test, and words the reasons of failures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from runtimed.core.message_text import printable
from runtimed.core.proof.bundle import EXIT_STATUS
from runtimed.core.proof.engine import EngineName, Leftover, Step
from runtimed.core.proof.program import first_line

_RELEASE = re.compile(r"Linux version (\S+)")
_SECCOMP = {"0": "none", "1": "strict", "2": "filter"}
# logrus writes an error of runc as `time="..." level=error msg="..."`.
_LOGRUS = re.compile(r'level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"')
_LINES = 3
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Observations:
    """The observations of the script in the container; None for a file that the container does not have."""

    release: str | None = None
    version: str | None = None
    uid_map: tuple[str, ...] = ()
    seccomp: str | None = None
    # Whether the script ran at all, and to its end.
    began: bool = False
    ended: bool = False


class Failure(TypedDict):
    """The step in which a test failed, and the reason."""

    step: Step
    reason: str


class Kernel(TypedDict):
    """The release and the version of a kernel (uname(2)); null where a container does not show it."""

    release: str | None
    version: str | None


class Evidence(TypedDict):
    """The observations of one test, as `runtimectl test --json` prints them."""

    runtime: str
    outcome: Literal["passed", "failed"]
    engine: EngineName | None
    generation: int
    digest: str
    # The id of the container; null for a test that failed before it had one.
    id: str | None
    # The duration of each step that was done.
    milliseconds: dict[Step, float]
    exit_status: int | None
    kernel: Kernel
    host_kernel: Kernel
    uid_map: list[str]
    seccomp: str | None
    failure: Failure | None
    # Everything that the runtime left on the node, and the part of it that could not be removed.
    leftovers: list[Leftover]
    remaining: list[Leftover]
    # The state of the proof that the daemon has recorded; null if it recorded none.
    proof: str | None


def new_evidence(runtime: Mapping[str, Any], host: Kernel) -> Evidence:
    """Return the evidence of a test of ``runtime``, a body of GET /v1/runtimes/{name}, before its first step."""
    return {
        "runtime": runtime["name"],
        "outcome": "failed",
        "engine": None,
        "generation": runtime["generation"],
        "digest": runtime["digest"],
        "id": None,
        "milliseconds": {},
        "exit_status": None,
        "kernel": {"release": None, "version": None},
        "host_kernel": host,
        "uid_map": [],
        "seccomp": None,
        "failure": None,
        "leftovers": [],
        "remaining": [],
        "proof": None,
    }


def read_output(identifier: str, output: bytes) -> Observations:
    """Return the observations in ``output`` of the script of the test ``identifier`` (see `make_script`)."""
    lines: dict[str, list[str]] = {}
    for line in output.decode(errors="backslashreplace").splitlines():
        head, _, rest = line.partition(" ")
        if head == identifier:
            file, _, text = rest.partition(" ")
            lines.setdefault(file, []).append(text)
    version = _first(lines, "version") or ""
    found = _RELEASE.match(version)
    # gVisor has /proc/version only.
    release = _first(lines, "sys/kernel/osrelease") or (found[1] if found else None)
    after = version.partition(" #")[2]
    status = dict(line.split(":", 1) for line in lines.get("self/status", ()) if ":" in line)
    seccomp = status.get("Seccomp", "").strip()
    return Observations(
        release=release,
        version=_first(lines, "sys/kernel/version") or (f"#{after}" if after else None),
        uid_map=tuple(" ".join(line.split()) for line in lines.get("self/uid_map", ())),
        seccomp=_SECCOMP.get(seccomp, seccomp or None),
        began=bool(lines),
        ended="end" in lines,
    )


def judge(exit_status: int, seen: Observations, output: bytes) -> str | None:
    """Return why a container that has ended does not pass the test; None if it passes."""
    ended = f"it ended with {describe_status(exit_status)}"
    if not seen.began:
        text = output.decode(errors="backslashreplace").strip()
        printed = f"printed {first_line(text)}" if text else "printed nothing"
        return f"the container did not run the script of the test: {ended} and {printed}"
    if exit_status != EXIT_STATUS:
        if seen.ended:
            return f"the script ended with exit status {EXIT_STATUS}, but the runtime returned {exit_status}"
        return f"the script did not get to its end: {ended}"
    if not seen.ended:
        return f"a part of the container's output is lost: {ended}, as it must, but its last line is missing"
    return None


def describe_status(status: int) -> str:
    """Return an exit status in words; 128 + n is the signal n."""
    return f"exit status {status}" + (f" (signal {status - _SIGNALLED})" if status > _SIGNALLED else "")


def describe_failure(status: int, messages: bytes) -> str:
    """Return why a program failed: the end of its ``messages``; without any its ``status``, as in subprocess."""
    text = messages.decode(errors="backslashreplace")
    if errors := _LOGRUS.findall(text):
        # The last one repeats the others in runc.
        return printable(re.sub(r"\\(.)", r"\1", errors[-1]))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    end = f"signal {-status}" if status < 0 else f"exit status {status}"
    return printable(f"{'; '.join(lines[-_LINES:])} ({end})" if lines else f"it ended with {end} and no message")


def describe_leftovers(leftovers: Sequence[Leftover], remaining: Sequence[Leftover]) -> str:
    """Return the reason for the failure of a test after which a runtime has left something."""
    left = f"the runtime left {name_leftovers(leftovers)}"
    return f"{left}; {name_leftovers(remaining)} cannot be removed" if remaining else f"{left}; removed"


def _first(lines: dict[str, list[str]], file: str) -> str | None:
    found = lines.get(file)
    return found[0] if found else None


def name_leftovers(leftovers: Sequence[Leftover]) -> str:
    """Return the kinds and names of the first of ``leftovers``, and the number of the others."""
    names = [f"the {each['kind']} {each['name']}" for each in leftovers]
    more = len(names) - _LINES
    return ", ".join(names[:_LINES]) + (f" and {more} more" if more > 0 else "")
