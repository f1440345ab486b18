"""Hundreds of connections ask for the largest answers and never read: memory stays bounded, and others are served.

What is asserted of waits is a bound on hanging: the daemon makes hundreds of large answers meanwhile, for seconds on a
busy machine, and would wait for ever for a client that never reads.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from harness.daemon import RunningDaemon, UnixConnection, new_daemon, wait_until

GROWTH_MOST_MIB = 160
CONNECTIONS = 900
# So many of these answers take more than the bound, and each takes milliseconds to make.
EXPENSIVE = (
    "/v1/generations/1",
    "/v1/runtimes",
    "/info",
    "/v1.40/info",
    "/v1/resolve?runtime=large",
    "/v1/runtimes/large",
)
EXPENSIVE_CONNECTIONS = 350
# At a time: more of one user's requests may not wait for the disk.
STEP = 150
LONGEST_MS = 20_000
TARGETS = (
    "/v1/generations/1",
    "/v1/runtimes",
    "/info",
    "/v1.40/info",
    "/metrics",
    "/openapi.json",
    "/v1/status",
    "/v1/generations",
    "/v1/resolve?runtime=large",
    "/v1/runtimes/large",
    "/v1/events?since=0",
    "/events?since=1",
)


def configuration(runtimes: int) -> dict[str, object]:
    wrapped = {f"r{n:05d}": {"path": "/bin/echo", "runtimeArgs": ["--debug", str(n)]} for n in range(runtimes)}
    large = {"runtimeType": "io.containerd.runsc.v1", "options": {"ConfigBody": "x" * 500_000}}
    return {"runtimes": {**wrapped, "large": large}, "default-runtime": "large"}


class Good:
    """A client that asks all the time and reads."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._daemon = daemon
        self._stop = threading.Event()
        self._waits_ms: list[float] = []
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def longest_ms(self) -> float:
        """Return the longest wait since this was last asked."""
        wait_until(lambda: self._waits_ms, "an answer")
        waits_ms, self._waits_ms = self._waits_ms, []
        return max(waits_ms)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with contextlib.closing(UnixConnection(str(self._daemon.socket))) as connection:
            while not self._stop.is_set():
                begun_s = time.perf_counter()
                connection.request("GET", "/v1/resolve?runtime=runc")
                assert connection.getresponse().read().startswith(b'{"runtime":"runc"')
                self._waits_ms.append((time.perf_counter() - begun_s) * 1000)
                time.sleep(0.005)


class DaemonWithGoodClients:
    def __init__(self, daemon: RunningDaemon, good: Good) -> None:
        self.daemon = daemon
        self.good = good

    def resident_mib(self, field: str = "VmRSS") -> float:
        status = Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith(f"{field}:")).split()[1]) / 1024

    def measure_growth_mib(self, target: str, number: int) -> float:
        """Return the most by which memory grew while so many connections asked and did not read."""
        Path(f"/proc/{self.daemon.pid}/clear_refs").write_text("5")  # VmHWM begins anew (proc(5))
        before_mib = self.resident_mib()
        with contextlib.ExitStack() as stack:
            for done in range(0, number, STEP):
                socks = [stack.enter_context(asking(self.daemon, target)) for _ in range(min(STEP, number - done))]
                wait_until(partial(have_begun, socks), "the answers to begin")
        return self.resident_mib("VmHWM") - before_mib


@contextlib.contextmanager
def asking(daemon: RunningDaemon, target: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.socket))
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        sock.setblocking(False)
        yield sock


def has_begun(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        pass  # reset, because others asked for more
    return True


def have_begun(socks: Sequence[socket.socket]) -> bool:
    return all(map(has_begun, socks))


@contextlib.contextmanager
def scene(runtimes: int) -> Iterator[DaemonWithGoodClients]:
    with new_daemon() as daemon:
        daemon.write(configuration(runtimes))
        daemon.install("containerd-shim-runsc-v1")
        with daemon.running():
            good = Good(daemon)
            try:
                yield DaemonWithGoodClients(daemon, good)
            finally:
                good.stop()
            assert daemon.stop() == 0


@pytest.fixture(scope="module")
def thousand() -> Iterator[DaemonWithGoodClients]:
    with scene(1000) as it:
        for target in ("/metrics", "/openapi.json"):
            with asking(it.daemon, target) as sock:  # what is imported for the first answer is not unread
                wait_until(partial(have_begun, [sock]), "an answer")
        yield it


@pytest.mark.timeout(600)
@pytest.mark.parametrize("target", TARGETS)
def test_what_hundreds_of_connections_leave_unread_takes_less_than_160_mib(
    thousand: DaemonWithGoodClients, target: str
) -> None:
    time.sleep(0.5)
    quiet_ms = thousand.good.longest_ms()
    number = EXPENSIVE_CONNECTIONS if target in EXPENSIVE else CONNECTIONS
    growth_mib = thousand.measure_growth_mib(target, number)
    see_bounds(target, growth_mib, quiet_ms, thousand.good.longest_ms())


def see_bounds(target: str, growth_mib: float, quiet_ms: float, busy_ms: float) -> None:
    print(f"{target}: {growth_mib:.0f} MiB; longest wait {quiet_ms:.1f} ms idle, {busy_ms:.1f} ms then")  # noqa: T201
    assert growth_mib < GROWTH_MOST_MIB
    assert busy_ms < LONGEST_MS


@pytest.mark.timeout(900)
def test_of_10000_runtimes_as_well() -> None:
    with scene(10_000) as it:
        time.sleep(2)
        for target in ("/v1/generations/1", "/v1/runtimes", "/info"):
            quiet_ms = it.good.longest_ms()
            growth_mib = it.measure_growth_mib(target, 15)
            see_bounds(target, growth_mib, quiet_ms, it.good.longest_ms())
            time.sleep(0.5)
