"""Probes binaries for their features: outside the reload, a few at a time, once for each change of a binary.

``probe`` probes one binary, ``command`` runs it within bounds. They use threads and not tasks, because starting a
process, walking a path and reading a file may all wait for a file system, and must not delay the event loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runtimed.core.features import PENDING, Features
from runtimed.host.features.probe import Finding, Identity, Probe, Trusted, identify, replaceable

__all__ = ["MAX_KNOWN", "RETRY_S", "Prober", "replaceable"]

# Number of results that are kept beyond those of the current table.
MAX_KNOWN = 1024
# A binary that did not answer in time is probed again, at the next request, after this time.
RETRY_S = 300.0
# stop() waits this long for processes that were killed.
_STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class _Result:
    """A finding and the binary for which it is valid."""

    identity: Identity
    finding: Finding
    retry_at_s: float | None


class Prober:
    """The findings about binaries, and the threads that probe them. Safe to use from any thread.

    ``trusted`` returns why another user could replace a path (see :func:`replaceable`), or None. ``on_result`` is
    called with every new result, once for each change of a binary, in one of the prober's threads. ``clock`` returns
    the time in seconds.
    """

    def __init__(
        self,
        *,
        trusted: Trusted,
        on_result: Callable[[str, Features], None],
        timeout_s: float = 5.0,
        output_bytes: int = 1024 * 1024,
        concurrency: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_result = on_result
        self._stopped = threading.Event()
        self._probe = Probe(trusted, timeout_s, output_bytes, self._stopped)
        self._concurrency = concurrency
        self._clock = clock
        # Longer than two runs can take: a thread that is busy for longer waits for a file system.
        self._overdue_s = 2 * timeout_s + 5
        self._lock = threading.Lock()
        self._results: dict[str, _Result] = {}
        self._max_results = MAX_KNOWN
        self._queue: dict[str, None] = {}
        # Thread -> the binary that it probes ("" before its first), and the time at which it began.
        self._busy: dict[threading.Thread, tuple[str, float]] = {}
        # Binaries that were wanted during their probe, and may have changed since it began.
        self._again: set[str] = set()

    def want(self, binaries: Iterable[str]) -> None:
        """Have those of ``binaries``, all binaries of the current table, probed that are new or have changed.

        Relative paths are ignored. Returns at once and reads no file.
        """
        wanted = {binary: None for binary in binaries if binary.startswith("/")}
        with self._lock:
            self._max_results = MAX_KNOWN + len(wanted)
            self._enqueue(wanted)

    def get(self, binary: str) -> Features:
        """Return the features of the file that is now at the absolute path ``binary``. Blocks for its file system.

        If they are not known yet or the file has changed, returns PENDING and has the binary probed.
        """
        if not binary.startswith("/"):
            return Features("unknown", reason="the path is relative, so the file depends on the caller's directory")
        with self._lock:
            busy_s = [self._clock() - since_s for probed, since_s in self._busy.values() if probed == binary]
        if busy_s and max(busy_s) > self._overdue_s:
            reason = f"the probe has not ended for {max(busy_s):.0f} s; check the file system of the binary"
            return Features("unknown", reason=reason)
        result = self._results.get(binary)
        if result is not None and self._is_valid(binary, result, identify(binary)):
            return result.finding.features
        with self._lock:
            self._enqueue({binary: None})
        return PENDING

    def refusal(self, binary: str) -> str | None:
        """Return why the kernel refuses to execute ``binary``, if a probe of this very file has shown it.

        Reads the file's status only in that case. Starts no probe.
        """
        result = self._results.get(binary)
        if result is not None and (refusal := result.finding.features.refusal) and result.identity == identify(binary):
            return refusal
        return None

    def stop(self) -> None:
        """Kill the running binaries and wait at most a second for their end; start no further probe."""
        with self._lock:
            self._stopped.set()
            threads = tuple(self._busy)
        deadline_s = time.monotonic() + _STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _is_valid(self, binary: str, result: _Result, identity: Identity) -> bool:
        """Return whether ``result`` is valid for ``binary``, which has ``identity`` now."""
        if result.identity != identity:
            return False
        if result.retry_at_s is not None and self._clock() >= result.retry_at_s:
            return False
        # A corrected mode of a directory does not change the identity of the binary in it.
        refused = result.finding.refused
        return refused is None or self._probe.refusal(binary) == refused

    def _enqueue(self, binaries: dict[str, None]) -> None:
        """Queue ``binaries`` and start threads for them. Holds the lock."""
        if self._stopped.is_set():
            return
        probed = {binary for binary, _ in self._busy.values()}
        self._again |= probed & binaries.keys()
        self._queue.update((binary, None) for binary in binaries if binary not in probed)
        for _ in range(min(len(self._queue), self._concurrency - self._count_working())):
            # A thread that a file system holds does not count as working, but the number of threads is bounded.
            if len(self._busy) >= 4 * self._concurrency:
                break
            # A daemon thread: one that a file system holds must not keep the process from stopping.
            thread = threading.Thread(target=self._work, name="features", daemon=True)
            self._busy[thread] = ("", self._clock())
            try:
                thread.start()
            except RuntimeError:  # no thread is left; the next request tries again
                del self._busy[thread]

    def _count_working(self) -> int:
        """Return the number of threads that are not held by a file system. Holds the lock."""
        now_s = self._clock()
        return sum(now_s - since_s <= self._overdue_s for _, since_s in self._busy.values())

    def _work(self) -> None:
        try:
            while (binary := self._next()) is not None:
                self._update(binary)
        finally:
            with self._lock:
                self._busy.pop(threading.current_thread(), None)

    def _next(self) -> str | None:
        """Return the next binary to probe; None if this thread must end."""
        thread = threading.current_thread()
        with self._lock:
            ended, _ = self._busy.pop(thread)
            if ended in self._again:
                self._again.remove(ended)
                self._queue[ended] = None
            # While a file system held this thread, others may have been started instead of it.
            if self._stopped.is_set() or not self._queue or self._count_working() >= self._concurrency:
                return None
            binary = next(iter(self._queue))
            del self._queue[binary]
            self._busy[thread] = (binary, self._clock())
            return binary

    def _update(self, binary: str) -> None:
        """Probe ``binary`` unless its result is valid; keep and report the new result."""
        # Read before the probe: if the binary is replaced meanwhile, the result is not valid for the new one.
        identity = identify(binary)
        old = self._results.get(binary)
        if old is not None and self._is_valid(binary, old, identity):
            return
        finding = self._probe.run(binary, identity)
        if self._stopped.is_set():
            return
        with self._lock:
            self._results.pop(binary, None)
            self._results[binary] = _Result(identity, finding, self._clock() + RETRY_S if finding.passing else None)
            while len(self._results) > self._max_results:
                del self._results[next(iter(self._results))]
        if old is None or (old.identity, old.finding.features) != (identity, finding.features):
            self._on_result(binary, finding.features)
