"""Keeps Python's garbage collector from scanning tables of runtimes, and glibc's malloc from keeping freed memory.

A full collection scans every container object and holds the interpreter's lock meanwhile. With 10,000 runtimes this
delays all clients by 40 ms, several times in each reload, because so many new objects trigger it. It frees nothing:
the objects of a table refer only to older ones, so reference counting frees them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Number of frozen connections and tables, each of which leaves 3 KB of garbage, after which the whole heap is scanned.
_FROZEN_MOST = 1000
# Parameters of mallopt(3) from malloc.h, and glibc's initial threshold.
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MAPPED_BYTES = 128 * 1024
# The interpreter's lock lets one thread allocate at a time, so more arenas save no time.
_ARENAS_MOST = 2


class GcFreeze:
    """Exempts long-lived objects from garbage collections; ``connections`` returns the number of open connections.

    gc.freeze() exempts every object that exists. Two kinds of these are garbage later, and only a collection frees
    them: asyncio's transports, which refer to themselves, and closures that json's encoder leaves for each table. So
    connections and tables are counted, and after enough of them the whole heap is scanned once.
    """

    def __init__(self, connections: Callable[[], int]) -> None:
        self._connections = connections
        self._frozen = 0

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Return the result of ``function``, and exempt the objects that it leaves, unless it raises.

        Collections are enabled afterwards; the first call finds them disabled by the start of the process.
        ``function`` must be short, and one thread at a time may call this.
        """
        # Frees present garbage before it is frozen. This is fast, because frozen objects are not scanned.
        if gc.isenabled():
            gc.collect()
            gc.disable()
        try:
            result = function(*args)
            self._freeze()
        finally:
            gc.enable()
        return result

    def _freeze(self) -> None:
        self._frozen += self._connections() + 1
        if self._frozen > _FROZEN_MOST:
            self._frozen = 0
            gc.unfreeze()
            gc.collect()
        gc.freeze()


def tune_malloc() -> None:
    """Have glibc return large blocks to the system when they are freed, and use two arenas (mallopt(3)).

    By default glibc raises the size of blocks that it maps separately with every such block that is freed, up to
    32 MiB; responses of half a megabyte then stay in its heaps, which grew to three times the memory in use.

    By default it also reserves 64 MiB of address space for each thread, up to eight threads for each processor: 1 GiB
    for an idle daemon. Under such a limit (RLIMIT_AS) a new thread finds no memory and Thread.start() does not return.
    """
    # Other C libraries have no mallopt(), or one without effect.
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS_MOST)
