"""The garbage collector, kept from looking through tables of runtimes.

A full collection looks at every container there is and holds the interpreter's lock meanwhile: with 10,000 runtimes
nobody is answered for 40 ms, several times in each reload, since that is what so many new objects set off. It finds
nothing there: tables are made of values that refer to what was made before them, and go when nobody refers to them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# How many connections may have been exempted before all of the heap is looked through again: 3 KB each.
_EXEMPTED_MOST = 1000


class Heap:
    """Exempts what is built to stay from collections; ``connections`` returns how many there are.

    Whatever else exists at that moment is exempted with it. Most of it is meant to stay as well; but asyncio's
    transports refer to themselves, so that a connection, once it has ended, waits for a collection: they are counted,
    and now and then all of the heap is looked through after all.
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
        self._exempted += self._connections()
        if self._exempted > _EXEMPTED_MOST:
            self._exempted = 0
            gc.unfreeze()
            gc.collect()
        gc.freeze()
