"""A client that asks without pause while something is done to the daemon."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from harness.daemon import RunningDaemon


@dataclass
class Asked:
    """What a client saw that asked without pause."""

    answers: int = 0
    longest_s: float = 0.0
    digests: set[str] = field(default_factory=set)


@contextlib.contextmanager
def asking(daemon: RunningDaemon, runtime: str) -> Iterator[Asked]:
    """Resolve ``runtime`` meanwhile, again and again; fails when one resolution fails."""
    asked, stop = Asked(), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            begun_s = time.monotonic()
            asked.digests.add(daemon.resolve(runtime)["digest"])
            asked.longest_s = max(asked.longest_s, time.monotonic() - begun_s)
            asked.answers += 1
            time.sleep(0.002)

    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(ask)
        try:
            yield asked
        finally:
            stop.set()
            client.result()
