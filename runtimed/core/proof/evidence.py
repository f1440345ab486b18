"""Reads the output of a test's script, judges the test, and words the reasons of failures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtimed.core.message_text import printable, shown
from runtimed.core.proof.bundle import EXIT_STATUS

_RELEASE = re.compile(r"Linux version (\S+)")
_SECCOMP = {"0": "none", "1": "strict", "2": "filter"}
# logrus writes an error of runc as `time="..." level=error msg="..."`.
_LOGRUS = re.compile(r'level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"')
_LINES = 3
_SIGNALLED = 128
# Values of e_machine in the header of an ELF file, see elf.h.
_MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
# A kernel for the first executes programs for the second.
_COMPATIBLE = {("x86_64", "i386"), ("aarch64", "arm"), ("ppc64", "ppc")}
_ELF_HEADER_MIN = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """The observations of the script in the container; None for a file that the container does not have."""

    release: str | None = None
    version: str | None = None
    uid_map: tuple[str, ...] = ()
    seccomp: str | None = None
    first_process: str | None = None
    # Whether the script ran at all, and to its end.
    began: bool = False
    ended: bool = False


def read_output(identifier: str, output: bytes) -> Seen:
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
    return Seen(
        release=release,
        version=_first(lines, "sys/kernel/version") or (f"#{after}" if after else None),
        uid_map=tuple(" ".join(line.split()) for line in lines.get("self/uid_map", ())),
        seccomp=_SECCOMP.get(seccomp, seccomp or None),
        first_process=_first(lines, "1/comm"),
        began=bool(lines),
        ended="end" in lines,
    )


def judge(exit_status: int, seen: Seen, output: bytes) -> str | None:
    """Return why a container that has ended does not pass the test; None if it passes."""
    ended = f"it ended with {describe_status(exit_status)}"
    if not seen.began:
        text = output.decode(errors="backslashreplace").strip()
        printed = f"printed {_excerpt(text)}" if text else "printed nothing"
        return f"the container did not run the script of the test: {ended} and {printed}"
    if exit_status != EXIT_STATUS:
        if seen.ended:
            return (
                f"the container's process ended with exit status {EXIT_STATUS}, and the runtime returned {exit_status}"
            )
        return f"the container's process did not get to the end of its script: {ended}"
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


def describe_program(path: str, head: bytes, own_head: bytes) -> str | None:
    """Return why the kernel cannot execute the file ``path``, None if it can; for a program that failed at once.

    ``head`` is the beginning of the file, ``own_head`` that of a program that runs on this node.
    """
    machine, own = _machine(head), _machine(own_head)
    if machine is not None:
        if own is None or machine == own or (own, machine) in _COMPATIBLE:
            return None
        return f"{path} is a program for {machine} processors, and this node has {own}"
    if head.startswith(b"#!"):
        return None
    if not head:
        return f"{path} is empty"
    text = head.decode(errors="backslashreplace")
    is_page = re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE) is not None
    return f"{path} is neither a program nor a script: it begins with {_excerpt(text)}" + (
        ", like a saved web page" if is_page else ""
    )


def name_leftovers(names: Sequence[str]) -> str:
    """Return the reason for a test whose runtime left things on the node, given as ``names``."""
    more = f" and {len(names) - _LINES} more" if len(names) > _LINES else ""
    return f"the runtime left {', '.join(names[:_LINES])}{more}"


def _machine(head: bytes) -> str | None:
    """Return the processor of the ELF file that begins with ``head``, None if it is no ELF file."""
    if len(head) < _ELF_HEADER_MIN or not head.startswith(b"\x7fELF"):
        return None
    number = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")  # noqa: PLR2004 - EI_DATA is ELFDATA2MSB
    return _MACHINES.get(number, f"machine {number}")


def _first(lines: dict[str, list[str]], file: str) -> str | None:
    found = lines.get(file)
    return found[0] if found else None


def _excerpt(text: str) -> str:
    first = text.strip().splitlines()[0] if text.strip() else text
    return shown(first)
