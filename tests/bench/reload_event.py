"""Measures a reload of any daemon with a file, SIGHUP, and a stream of events on a Unix socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import wait_until_quiet

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A daemon: its configuration file, the target of its events, and ``mark``, which the event of a reload has."""

    pid: int
    socket: Path
    config: Path
    events: bytes
    mark: bytes


def reload_ms(peer: Peer, document: object, quiet: Sequence[int], directory: Path) -> float:
    """Return the milliseconds from SIGHUP to the event of the reload, when the processes ``quiet`` are quiet.

    The new file is written in ``directory`` and renamed directly before the signal, so that no watcher comes first.
    """
    prepared = directory / "next.json"
    prepared.write_text(json.dumps(document))
    with socket.socket(socket.AF_UNIX) as events:
        events.settimeout(_PATIENCE_S)
        events.connect(str(peer.socket))
        events.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % peer.events)
        head = events.recv(4096)
        while b"\r\n\r\n" not in head:
            head += events.recv(4096)
        wait_until_quiet(*quiet)
        prepared.rename(peer.config)
        begun_s = time.perf_counter()
        os.kill(peer.pid, signal.SIGHUP)
        # An event is one line, which holds all runtimes and may be long.
        data = b""
        while peer.mark not in data:
            data = data[-len(peer.mark) :] + events.recv(1 << 20)
            assert time.perf_counter() < begun_s + _PATIENCE_S, "the event of the reload did not come"
        return (time.perf_counter() - begun_s) * 1000
