"""Starts servers, and measures one round of requests to one of them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import latencies_us, percentile, requests_per_s
from bench.machine import on_server_cpu, processor_ns
from bench.rounds import Rounds
from bench.rows import Row
from harness.daemon import wait_until

ROUND_S = 0.3
LATENCY_REQUESTS = 10_000


def asked() -> dict[str, object]:
    """Return a configuration with a runtime that needs no wrapper, and one that does."""
    return {
        "runtimes": {
            "crun": {"path": "/bin/true"},
            "gvisor": {"path": "/bin/true", "runtimeArgs": ["--platform=ptrace", "--network=none"]},
        },
        "runtimed": {"probe": {"enabled": False}},
    }


@dataclass(frozen=True, slots=True)
class BenchServer:
    """A server and the target of the requests to it."""

    pid: int
    socket: str
    target: str


@contextlib.contextmanager
def peer_server(directory: Path, kind: str, ours: BenchServer) -> Iterator[BenchServer]:
    """Yield a peer of peers.py that responds to the target of ``ours`` as the daemon does."""
    directory.mkdir(exist_ok=True)
    path, response = directory / kind, directory / f"{kind}.response"
    response.write_bytes(_whole_response(ours))
    program = Path(__file__).with_name("peers.py")
    process = subprocess.Popen([*on_server_cpu(), sys.executable, str(program), kind, path, response])
    try:
        wait_until(lambda: path.exists() or process.poll() is not None, f"{kind} listens")
        assert process.poll() is None, f"{kind} has ended"
        yield BenchServer(process.pid, str(path), ours.target)
    finally:
        process.kill()
        process.wait()


def _whole_response(server: BenchServer) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server.socket)
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % server.target.removeprefix("http://x").encode())
        return sock.recv(1 << 16)


def load(server: BenchServer, connections: int, requests: int) -> Mapping[str, float]:
    """Return requests a second, and of ``requests`` the processor time, the median and the 99th percentile in us."""
    rate = requests_per_s(server.socket, server.target, connections, ROUND_S)
    before_ns = processor_ns(server.pid)
    waits_us = latencies_us(server.socket, server.target, connections, requests)
    spent_us = (processor_ns(server.pid) - before_ns) / requests / 1000
    return {
        "rate": rate,
        "processor": spent_us,
        "median": percentile(waits_us, 0.5),
        "p99": percentile(waits_us, 0.99),
    }


def rows(rounds: Rounds, what: str, peer: str, goal: float | None, latency_goal: float | None = None) -> Iterator[Row]:
    """Yield the rows of such rounds; ``goal`` is of the requests a second, so its inverse is of the processor time."""
    yield rounds.compared(what, "req/s", "rate", peer, goal, most=False)
    yield rounds.compared(f"{what}, processor", "us", "processor", peer, goal and 1 / goal)
    for figure in ("median", "p99"):
        yield rounds.compared(f"{what}, {figure}", "us", figure, peer, latency_goal)
