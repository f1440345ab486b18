"""Good clients that ask without pause, while something is done to the daemon that should not concern them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from e2e.harness.attacks import RESOLVE

CLIENTS = 8
PATIENCE_S = 60.0
PAUSE_S = 0.005


@dataclass(slots=True)
class Measured:
    """How long answers took, in milliseconds; of fresh connections, from before they were made."""

    kept_ms: list[float] = field(default_factory=list)
    fresh_ms: list[float] = field(default_factory=list)

    @property
    def longest_ms(self) -> float:
        return max((*self.kept_ms, *self.fresh_ms))

    def __str__(self) -> str:
        def figures(values: list[float]) -> str:
            if not values:
                return "none"
            values = sorted(values)
            middle, high = values[len(values) // 2], values[len(values) * 99 // 100]
            return f"{len(values)} answers, {middle:.1f} / {high:.1f} / {values[-1]:.1f} ms"

        return f"kept connections {figures(self.kept_ms)}; new ones {figures(self.fresh_ms)} (median / p99 / longest)"


class Clients:
    """Eight clients, of which ``fresh`` connect anew for every question; each answer must be the one ``wanted``."""

    def __init__(self, path: str, wanted: bytes, fresh: int) -> None:
        self._path = path
        self._wanted = wanted
        self._stop = threading.Event()
        self._now = Measured()
        self.faults: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(number < fresh,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def measuring(self) -> Iterator[Measured]:
        """Yield what is measured meanwhile."""
        self._now = measured = Measured()
        yield measured
        self._now = Measured()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, fresh: bool) -> None:
        sock: socket.socket | None = None
        try:
            while not self._stop.is_set():
                measured, begun_s = self._now, time.perf_counter()
                sock = sock or self._connect()
                self._ask_once(sock)
                took_ms = (time.perf_counter() - begun_s) * 1000
                (measured.fresh_ms if fresh else measured.kept_ms).append(took_ms)
                if fresh:
                    sock.close()
                    sock = None
                time.sleep(PAUSE_S)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what this is about
            self.faults.append(repr(error))
        finally:
            if sock is not None:
                sock.close()

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        # Without a time-out: with one, a full queue is an error and not a wait (connect(2), EAGAIN).
        sock.connect(self._path)
        sock.settimeout(PATIENCE_S)
        return sock

    def _ask_once(self, sock: socket.socket) -> None:
        sock.sendall(RESOLVE)
        answer = b""
        while len(answer) < len(self._wanted):
            part = sock.recv(1 << 16)
            if not part:
                raise AssertionError(f"the connection ended after {answer!r}")
            answer += part
        if answer != self._wanted:
            raise AssertionError(f"not the answer that was expected: {answer!r}")


@contextlib.contextmanager
def good_clients(path: str, wanted: bytes, fresh: int) -> Iterator[Clients]:
    """Yield clients that ask until the end; fails when one of them had a single error."""
    clients = Clients(path, wanted, fresh)
    try:
        yield clients
    finally:
        clients.stop()
    assert clients.faults == []
