"""Serving: requests a second and latencies of resolve, beside a bare echo of the same bytes and other servers."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dockerd import new_dockerd
from harness.daemon import RunningDaemon, new_daemon, wait_until
from load import latencies_us, on_server_cpu, percentile, requests_per_s
from table import Row, compared

ROUNDS = 7
ROUND_S = 0.5
LATENCY_REQUESTS = 10_000
CONNECTIONS = (1, 16, 256)
CONFIGURATION = {
    "runtimes": {
        "crun": {"path": "/bin/true"},
        "gvisor": {"path": "/bin/true", "runtimeArgs": ["--platform=ptrace", "--network=none"]},
    },
    "runtimed": {"probe": {"enabled": False}},
}
# Peer -> the goal for the ratio of requests a second at 16 connections, and so for that of a server that is busy all
# the while, the inverse of the goal for its processor time: which other work on the machine does not change.
GOALS = {"echo": 0.80, "uvicorn": 2.5, "dockerd /_ping": 3.0}
# At one connection, median and 99th percentile, beside the echo.
LATENCY_GOAL = 1.25


@dataclass(frozen=True, slots=True)
class BenchServer:
    """A server and what it is asked."""

    name: str
    pid: int
    socket: str
    target: str

    def processor_ns(self) -> int:
        """Return for how long its threads have run, in nanoseconds."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def measure() -> Iterator[Row]:
    """Yield rows for each number of connections and each peer; the files of a wrapped runtime are looked at."""
    with new_daemon(command=on_server_cpu()) as daemon, ExitStack() as stack:
        daemon.write(CONFIGURATION)
        daemon.start()
        plain, wrapped = (
            BenchServer(name, daemon.pid, str(daemon.socket), f"http://x/v1/resolve?runtime={name}")
            for name in ("crun", "gvisor")
        )
        echo = _start(daemon, stack, "echo", plain)
        pairs = [
            (plain, echo),
            (wrapped, _start(daemon, stack, "echo", wrapped)),
            *((plain, _start(daemon, stack, kind, plain)) for kind in ("aiohttp", "uvicorn")),
        ]
        dockerd = stack.enter_context(new_dockerd(daemon.root / "docker"))
        if dockerd is not None:
            paths = ("/_ping", "/info")
            pid, at = dockerd.process.pid, str(dockerd.socket)
            pairs += ((plain, BenchServer(f"dockerd {path}", pid, at, f"http://x{path}")) for path in paths)
        for connections in CONNECTIONS:
            for ours, theirs in pairs:
                yield from _compare(ours, theirs, connections)


def _start(daemon: RunningDaemon, stack: ExitStack, kind: str, ours: BenchServer) -> BenchServer:
    """Start a peer that answers as the daemon does where it is asked what ``ours`` is asked."""
    path = daemon.root / f"{kind}-{ours.name}"
    answer = daemon.root / f"answer-{ours.name}"
    answer.write_bytes(_whole_answer(ours))
    program = Path(__file__).with_name("peers.py")
    process = subprocess.Popen([*on_server_cpu(), sys.executable, str(program), kind, path, answer])
    stack.callback(process.wait)
    stack.callback(process.kill)
    wait_until(path.exists, f"{kind} listens")
    return BenchServer(kind, process.pid, str(path), ours.target)


def _whole_answer(place: BenchServer) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(place.socket)
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % place.target.removeprefix("http://x").encode())
        return sock.recv(1 << 16)


def _compare(ours: BenchServer, theirs: BenchServer, connections: int) -> Iterator[Row]:
    kind = "of a wrapped runtime, " if ours.name == "gvisor" else ""
    what = f"resolve {kind}{connections} connection{'s' if connections > 1 else ''}"
    # Of a server that takes milliseconds for an answer nobody wants to wait for thousands.
    slow = theirs.name == "dockerd /info"
    if slow and connections > 1:
        return
    requests = LATENCY_REQUESTS // 100 if slow else LATENCY_REQUESTS
    ours_seen, theirs_seen = _alternate((ours, theirs), connections, requests)
    goal = GOALS.get(theirs.name) if connections == 16 and ours.name == "crun" else None
    rates = [each.rate for each in ours_seen], [each.rate for each in theirs_seen]
    yield compared(what, "req/s", rates[0], theirs.name, rates[1], goal, most=False)
    spent = [each.processor_us for each in ours_seen], [each.processor_us for each in theirs_seen]
    yield compared(f"{what}, processor", "us", spent[0], theirs.name, spent[1], goal and 1 / goal)
    for share, label in ((0.5, "median"), (0.99, "p99")):
        waits = [[percentile(each.waits_us, share) for each in seen] for seen in (ours_seen, theirs_seen)]
        goal = LATENCY_GOAL if (connections, theirs.name) == (1, "echo") else None
        yield compared(f"{what}, {label}", "us", waits[0], theirs.name, waits[1], goal)


@dataclass(frozen=True, slots=True)
class RequestRound:
    """One round: requests a second, processor time for each in microseconds, and how long each took, ascending."""

    rate: float
    processor_us: float
    waits_us: list[int]


def _alternate(
    places: tuple[BenchServer, BenchServer], connections: int, requests: int
) -> tuple[list[RequestRound], list[RequestRound]]:
    found: tuple[list[RequestRound], list[RequestRound]] = ([], [])
    for _ in range(ROUNDS):
        for place, seen in zip(places, found, strict=True):
            rate = requests_per_s(place.socket, place.target, connections, ROUND_S)
            before = place.processor_ns()
            waits_us = latencies_us(place.socket, place.target, connections, requests)
            seen.append(RequestRound(rate, (place.processor_ns() - before) / requests / 1000, waits_us))
    return found
