"""Two hundred that listen and one that never reads, while the table changes a thousand times.

RUNTIMED_TEST_RELOADS sets how often (300 unless told).
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import RunningDaemon, new_daemon, wait_until
from harness.reload_count import RELOADS

LISTENERS = 200
# How many reloads the listeners may be behind: they read in a thread of this process, and each may leave little unread.
BEHIND_MOST = 10
# More than the events of a reload.
_LAST_BYTES = 1 << 16


class Listeners:
    """Many connections that listen, read by one thread."""

    def __init__(self, path: str, number: int) -> None:
        self.sockets = [subscribe(path) for _ in range(number)]
        self.received = [bytearray() for _ in self.sockets]
        self.ended = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            for number, sock in enumerate(self.sockets):
                selector.register(sock, selectors.EVENT_READ, number)
            while self.ended < len(self.sockets):
                for key, _ in selector.select():
                    if data := self.sockets[key.data].recv(1 << 16):
                        self.received[key.data] += data
                    else:
                        selector.unregister(key.fileobj)
                        self.ended += 1

    def wait_for(self, generation: int) -> None:
        """Wait until each has been told of the generation, in one of the last events that it has received."""
        ends = f'"type": "generation", "generation": {generation},'.encode()
        for data in self.received:
            wait_until(lambda data=data: ends in data[-_LAST_BYTES:], f"a listener to be told of {generation}")  # type: ignore[misc]

    def generations(self) -> Iterator[list[int]]:
        """Yield the numbers of the generations that each has been told of, in the order in which it was."""
        for data in self.received:
            events = [json.loads(line) for line in data.partition(b"\r\n\r\n")[2].splitlines()]
            yield [event["generation"] for event in events if event["type"] == "generation"]


def subscribe(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.sendall(b"GET /v1/events HTTP/1.0\r\n\r\n")
    return sock


def rest(sock: socket.socket) -> bytes:
    """Return all that still comes."""
    with contextlib.closing(sock):
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def resident_kib(daemon: RunningDaemon) -> int:
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.mark.timeout(300 + 2 * RELOADS)
def test_listeners_see_every_generation_in_order_beside_one_that_never_reads() -> None:
    with new_daemon() as daemon:
        daemon.write({"runtimes": {"x": {"path": "/bin/sh"}}})
        daemon.start()
        silent = subscribe(str(daemon.socket))
        listeners = Listeners(str(daemon.socket), LISTENERS)
        wait_until(lambda: daemon.status()["events"]["subscribers"] == LISTENERS + 1, "all to listen")
        before_kib = most_kib = resident_kib(daemon)
        last: bytes | None = None
        for number in range(RELOADS):
            # Three KiB in each event, so that the one that does not read exceeds its bound within 200 reloads.
            # A shim, because each name of a path would leave a stable path.
            shim = {"runtimeType": "/bin/sh"}
            daemon.write({"runtimes": {f"x{number}-{n}-{'y' * 60}": shim for n in range(20)}})
            report = daemon.reload()
            assert report["outcome"] in ("applied", "unchanged")
            if number % BEHIND_MOST == 0:
                listeners.wait_for(report["generation"])
            most_kib = max(most_kib, resident_kib(daemon))
            if last is None and daemon.status()["events"]["subscribers"] == LISTENERS:
                # It has been given up. What it reads late ends with the reason.
                last = rest(silent).splitlines()[-1]
        generation = daemon.status()["generation"]
        assert daemon.stop() == 0
        wait_until(lambda: listeners.ended == LISTENERS, "every listener to be told of the end")
        for told in listeners.generations():
            assert told == list(range(2, generation + 1))
        dropped = [event for event in daemon.log() if event["event"] == "subscriber.dropped"]
        print(  # noqa: T201
            f"{RELOADS} reloads, {LISTENERS} listeners, {generation - 1} generations each, {len(dropped)} dropped; "
            f"resident {before_kib} KiB before, {most_kib} KiB at most"
        )
        assert len(dropped) == 1
        assert last is not None
        assert json.loads(last)["type"] == "dropped"
        # What one may leave unread, and what all others have not been sent yet, is all there may be.
        assert most_kib - before_kib < 32 * 1024
        for sock in listeners.sockets:
            sock.close()
