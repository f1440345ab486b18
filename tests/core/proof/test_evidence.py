"""Tests of the judgement on a test, and of the reasons that it gives."""

from __future__ import annotations

import pytest

from runtimed.core.proof.engine import Leftover
from runtimed.core.proof.evidence import (
    Observations,
    describe_failure,
    describe_leftovers,
    describe_status,
    judge,
    read_output,
)

LOST = (
    "a part of the container's output is lost: it ended with exit status 42, as it must, but its last line is missing"
)
# runc 1.1.5.
RUNC = rb"""time="2026-11-27T22:45:55Z" level=warning msg="signal: killed"
time="2026-11-27T22:45:55Z" level=error msg="container_linux.go:380: unable to start: exec: \"/x\""
"""
ID = "runtimed-test-0123456789ab"
WHOLE = "\n".join(
    f"{ID} {line}"
    for line in (
        "sys/kernel/osrelease 6.1.0-18-amd64",
        "sys/kernel/version #1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)",
        "version Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org) #1 SMP",
        "self/uid_map          0     100000      65536",
        "self/uid_map      65536          0          1",
        "self/status Name:\tsh",
        "self/status Seccomp:\t2",
        "self/status Seccomp_filters:\t1",
        "end",
    )
)
# gVisor has no /proc/sys/kernel/osrelease.
GVISOR = "\n".join(
    f"{ID} {line}"
    for line in (
        "version Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016",
        "self/uid_map 0 0 4294967295",
        "self/status Seccomp:\t0",
        "end",
    )
)


def test_the_output_of_the_script_is_read() -> None:
    assert read_output(ID, WHOLE.encode()) == Observations(
        release="6.1.0-18-amd64",
        version="#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)",
        uid_map=("0 100000 65536", "65536 0 1"),
        seccomp="filter",
        began=True,
        ended=True,
    )


def test_the_kernel_of_a_container_without_its_release_is_read_from_its_version() -> None:
    seen = read_output(ID, GVISOR.encode())
    assert (seen.release, seen.version) == ("4.4.0", "#1 SMP Sun Jan 10 15:06:54 PST 2016")
    assert seen.seccomp == "none"


@pytest.mark.parametrize("output", [b"", b"\xff\0\n", b"runtimed-test-ffffffffffff end\n", ID.encode(), b"\n" * 9])
def test_other_output_is_no_evidence(output: bytes) -> None:
    seen = read_output(ID, output)
    assert (seen.release, seen.uid_map, seen.ended) == (None, (), False)


@pytest.mark.parametrize(
    ("status", "output", "reason"),
    [
        (42, WHOLE, None),
        (42, GVISOR, None),
        (0, WHOLE, "the script ended with exit status 42, but the runtime returned 0"),
        # Another entry point, or a program in place of the shell.
        (
            0,
            "hello\nworld",
            'the container did not run the script of the test: it ended with exit status 0 and printed "hello"',
        ),
        (
            42,
            "",
            "the container did not run the script of the test: it ended with exit status 42 and printed nothing",
        ),
        (
            137,
            WHOLE.rpartition("\n")[0],
            "the script did not get to its end: it ended with exit status 137 (signal 9)",
        ),
        (
            42,
            WHOLE.rpartition("\n")[0],
            LOST,
        ),
    ],
)
def test_a_test_is_judged(status: int, output: str, reason: str | None) -> None:
    assert judge(status, read_output(ID, output.encode()), output.encode()) == reason


def test_an_exit_status_names_its_signal() -> None:
    assert describe_status(42) == "exit status 42"
    assert describe_status(128) == "exit status 128"
    assert describe_status(139) == "exit status 139 (signal 11)"


@pytest.mark.parametrize(
    ("status", "messages", "reason"),
    [
        (1, RUNC, 'container_linux.go:380: unable to start: exec: "/x"'),
        # crun 1.8.1.
        (
            1,
            b"mount `proc` to `/proc`: Permission denied\n",
            "mount `proc` to `/proc`: Permission denied (exit status 1)",
        ),
        (2, b"a\nb\nc\n\nd\n", "b; c; d (exit status 2)"),
        (3, b"", "it ended with exit status 3 and no message"),
        (-9, b" \n", "it ended with signal 9 and no message"),
        (1, b"\x1b[31m\xff\n", "\\x1b[31m\\xff (exit status 1)"),
    ],
)
def test_the_reason_of_a_failure_is_the_end_of_the_messages(status: int, messages: bytes, reason: str) -> None:
    found = describe_failure(status, messages)
    assert found == reason
    assert found.isprintable()


def test_leftovers_are_named_and_counted() -> None:
    cgroups: list[Leftover] = [{"kind": "cgroup", "name": f"/c{number}"} for number in range(5)]
    assert describe_leftovers(cgroups[:1], ()) == "the runtime left the cgroup /c0; removed"
    assert describe_leftovers(cgroups, cgroups[:1]) == (
        "the runtime left the cgroup /c0, the cgroup /c1, the cgroup /c2 and 2 more; the cgroup /c0 cannot be removed"
    )
