"""The garbage collector, kept from looking through tables of runtimes.

A full collection looks at every container there is and holds the interpreter's lock meanwhile: with 10,000 runtimes
nobody is answered for 40 ms, several times in each reload, since that is what so many new objects set off. It finds
nothing there: tables are made of values that refer to what was made before them, and go when nobody refers to them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Number of exempted connections and tables after which all of the heap is looked through again: each leaves 3 KB.
_EXEMPTED_MOST = 1000
# From malloc.h; and glibc's own threshold at the start.
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MAPPED_BYTES = 128 * 1024
# The interpreter's lock lets one thread allocate at a time, so that more arenas save no waiting.
_ARENAS_MOST = 2


class GcFreeze:
    """Exempts what is built to stay from collections; ``connections`` returns how many there are.

    Whatever else exists at that moment is exempted with it. Most of it is meant to stay as well; but asyncio's
    transports refer to themselves, so that a connection, once it has ended, waits for a collection: they are counted,
    and now and then all of the heap is looked through after all. Tables are counted as well, because json's encoder
    leaves closures that refer to each other each time that a table is built.
    """

    def __init__(self, connections: Callable[[], int]) -> None:
        self._connections = connections
        self._exempted = 0

    def sparing(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function``, which ends soon, made to exempt what it leaves behind; an error exempts nothing.

        To be called by one thread at a time.
        """

        @wraps(function)
        def spared(*args: P.args, **kwargs: P.kwargs) -> T:
            # Quick: what was exempted before is not looked at. Garbage must not become exempt.
            gc.collect()
            gc.disable()
            try:
                result = function(*args, **kwargs)
                self._exempt()
            finally:
                gc.enable()
            return result

        return spared

    def _exempt(self) -> None:
        self._exempted += self._connections() + 1
        if self._exempted > _EXEMPTED_MOST:
            self._exempted = 0
            gc.unfreeze()
            gc.collect()
        gc.freeze()


def give_back_large_blocks() -> None:
    """Have glibc map each large block by itself, so that its memory goes back to the system when it is freed.

    By default glibc raises this threshold with every large block that is freed, up to 32 MiB (mallopt(3)). Answers of
    half a megabyte then lie in the heaps of the threads that made them, and those kept three times of what was in use.
    """
    _mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def limit_malloc_arenas() -> None:
    """Have all threads share two malloc arenas.

    By default glibc reserves 64 MiB of address space for each thread, up to eight threads for each processor. The
    threads of an idle daemon then reserve 1 GiB, and under such a limit (RLIMIT_AS) a thread that starts finds no
    memory: its Thread.start() does not return.
    """
    _mallopt(_M_ARENA_MAX, _ARENAS_MOST)


def _mallopt(parameter: int, value: int) -> None:
    # Other C libraries have no mallopt(), or one that does nothing.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(parameter, value)
