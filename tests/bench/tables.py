"""Tables of any size, and a client that watches one come into force."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from dataclasses import dataclass

from harness.daemon import RunningDaemon

_REQUEST = b"GET /v1/resolve?runtime=steady HTTP/1.1\r\nHost: x\r\n\r\n"
_GENERATION = re.compile(rb'"generation":(\d+)')
_LISTING = b"GET /v1/runtimes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_PATIENCE_S = 60.0
# For how long the client goes on after the new answer: what follows a publish is to be seen as well.
_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class ReloadRound:
    """One reload as a client sees it: all in milliseconds."""

    until_new_ms: float
    longest_wait_ms: float


def table(size: int, mark: int, *, all_new: bool) -> dict[str, object]:
    """Return a configuration with ``size`` wrapped runtimes: ``mark`` makes all of them new, or only the first."""
    runtimes: dict[str, object] = {"steady": {"path": "/bin/true"}}
    for each in range(size):
        own_mark = mark if all_new or each == 0 else 0
        runtimes[f"runtime{each}"] = {"path": "/bin/true", "runtimeArgs": [f"--mark={own_mark}", f"--number={each}"]}
    return {"runtimes": runtimes, "runtimed": {"probe": {"enabled": False}}}


def watch_reload(daemon: RunningDaemon, document: dict[str, object]) -> ReloadRound:
    """Return what a client sees that asks without pause while its table is replaced."""
    text = json.dumps(document)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_PATIENCE_S)
        sock.connect(str(daemon.socket))
        before = _ask(sock)
        daemon.write(text)
        begun_s = time.perf_counter()
        new_s, longest_s = 0.0, 0.0
        while not new_s or time.perf_counter() < new_s + _AFTER_S:
            asked_s = time.perf_counter()
            generation = _ask(sock)
            answered_s = time.perf_counter()
            longest_s = max(longest_s, answered_s - asked_s)
            if not new_s and generation != before:
                new_s = answered_s
            if answered_s > begun_s + _PATIENCE_S:
                raise AssertionError("the new answer did not come")
    return ReloadRound((new_s - begun_s) * 1000, longest_s * 1000)


def longest_wait_ms(daemon: RunningDaemon, duration_s: float) -> float:
    """Return the longest wait of a client that asks without pause while nothing happens: what the machine does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.socket))
        until_s = time.perf_counter() + duration_s
        longest_s = 0.0
        while (asked_s := time.perf_counter()) < until_s:
            _ask(sock)
            longest_s = max(longest_s, time.perf_counter() - asked_s)
    return longest_s * 1000


def wait_beside_listing_ms(daemon: RunningDaemon, least_bytes: int) -> float:
    """Return the longest wait of a client that asks without pause while another one reads the whole table.

    One thread does both, so that they do not wait for each other's processor: the table is read between two requests.
    """
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as listing:
        sock.connect(str(daemon.socket))
        listing.connect(str(daemon.socket))
        listing.sendall(_LISTING)
        listing.setblocking(False)
        block, received, longest_s, reading = bytearray(1 << 20), 0, 0.0, True
        until_s = time.perf_counter() + _PATIENCE_S
        while reading:
            asked_s = time.perf_counter()
            _ask(sock)
            longest_s = max(longest_s, time.perf_counter() - asked_s)
            with contextlib.suppress(BlockingIOError):
                count = listing.recv_into(block)
                received, reading = received + count, count > 0
            assert asked_s < until_s, "the whole table did not come"
        assert received >= least_bytes, "the table is not whole"
    return longest_s * 1000


def _ask(sock: socket.socket) -> bytes:
    sock.sendall(_REQUEST)
    found = _GENERATION.search(sock.recv(1 << 16))
    assert found is not None
    return found[1]
