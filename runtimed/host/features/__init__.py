"""Binaries asked for their features: off the reload path, a few at a time, once for each change of a binary.

``probe`` asks one, ``command`` runs it within bounds. Threads and no tasks: starting a process, walking a path and
looking at a file may all wait for a file system, and none of them may keep the event loop waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runtimed.core.features import PENDING, Features
from runtimed.host.features.probe import Finding, Identity, Probe, Trusted, identify, replaceable

__all__ = ["MAX_KNOWN", "RETRY_S", "Prober", "replaceable"]

# How many results are kept beyond those of the current table.
MAX_KNOWN = 1024
# When a binary that did not answer in time is asked again, if anybody wants to know: the machine may have been busy.
RETRY_S = 300.0
# How long stop() waits for processes that were killed.
_STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    """A result and the binary that it is true of."""

    identity: Identity
    finding: Finding
    retry_at_s: float | None


class Prober:
    """What is known of binaries, and the threads that find out; safe to use from any thread.

    ``trusted`` returns why somebody else could replace a path (see :func:`replaceable`), None where nobody could.
    ``told`` is called with every new result, once for each change of a binary, in one of the prober's threads.
    """

    def __init__(
        self,
        *,
        trusted: Trusted,
        told: Callable[[str, Features], None],
        timeout_s: float = 5.0,
        output_bytes: int = 1024 * 1024,
        concurrency: int = 4,
    ) -> None:
        self._told = told
        self._stopped = threading.Event()
        self._probe = Probe(trusted, timeout_s, output_bytes, self._stopped)
        self._concurrency = concurrency
        # Longer than two runs and their ends can take: what holds a thread then is a file system.
        self._overdue_s = 2 * timeout_s + 5
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._room = MAX_KNOWN
        self._queue: dict[str, None] = {}
        # Thread -> the binary it is at ("" before its first), and since when.
        self._busy: dict[threading.Thread, tuple[str, float]] = {}

    def want(self, binaries: Iterable[str]) -> None:
        """Have those of ``binaries`` asked that are new or changed: all that the current table leads to.

        Absolute paths; others are left out. Returns at once and touches no disk.
        """
        wanted = {binary: None for binary in binaries if binary.startswith("/")}
        with self._lock:
            self._room = MAX_KNOWN + len(wanted)
            self._enqueue(wanted)

    def get(self, binary: str) -> Features:
        """Return what is known of the binary that stands at the absolute path ``binary`` now. Looks at the disk.

        Pending where it is not known yet or has changed since; then it is being asked from now on.
        """
        if not binary.startswith("/"):
            return Features("unknown", reason="the path is relative: what it leads to depends on who runs it")
        with self._lock:
            if (since_s := self._stuck_since_s(binary)) is not None:
                reason = f"looking at the binary has not come to an end for {since_s:.0f} s; is its file system there?"
                return Features("unknown", reason=reason)
        known = self._known.get(binary)
        if known is not None and self._holds(binary, known, identify(binary)):
            return known.finding.features
        with self._lock:
            self._enqueue({binary: None})
        return PENDING

    def refusal(self, binary: str) -> str | None:
        """Return why the kernel refuses to execute ``binary``, where a probe of this very file has learned so.

        Looks at the disk only where a probe has learned so. Starts no probe.
        """
        known = self._known.get(binary)
        if known is None or known.finding.features.refusal is None or known.identity != identify(binary):
            return None
        return known.finding.features.refusal

    def stop(self) -> None:
        """Kill what runs and wait a moment for its end; nothing is asked from now on."""
        with self._lock:
            self._stopped.set()
            threads = tuple(self._busy)
        deadline_s = time.monotonic() + _STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _holds(self, binary: str, known: _Known, identity: Identity) -> bool:
        """Return whether what is ``known`` can still be said of ``binary``."""
        if known.identity != identity:
            return False
        if known.retry_at_s is not None and time.monotonic() >= known.retry_at_s:
            return False
        # A directory that was mended is no change of the binary in it.
        refused = known.finding.refused
        return refused is None or self._probe.refusal(binary) == refused

    def _stuck_since_s(self, binary: str) -> float | None:
        for at, since_s in self._busy.values():
            if at == binary and (age_s := time.monotonic() - since_s) > self._overdue_s:
                return age_s
        return None

    def _enqueue(self, binaries: dict[str, None]) -> None:
        # Holds the lock, as everything below that says so.
        if self._stopped.is_set():
            return
        being_asked = {binary for binary, _ in self._busy.values()}
        self._queue.update((binary, None) for binary in binaries if binary not in being_asked)
        for _ in range(min(len(self._queue), self._concurrency - self._working())):
            # Threads that a file system holds do not count as working, but there is an end to their number.
            if len(self._busy) < 4 * self._concurrency:
                self._start_thread()

    def _working(self) -> int:
        """Return how many threads will be back soon. Holds the lock."""
        now_s = time.monotonic()
        return sum(now_s - since_s <= self._overdue_s for _, since_s in self._busy.values())

    def _start_thread(self) -> None:
        # Holds the lock. A daemon thread: one that a file system holds must not keep the process from stopping.
        thread = threading.Thread(target=self._work, name="features", daemon=True)
        self._busy[thread] = ("", time.monotonic())
        try:
            thread.start()
        except RuntimeError:  # no more threads; what is queued is asked when somebody wants to know again
            del self._busy[thread]

    def _work(self) -> None:
        try:
            while (binary := self._next()) is not None:
                self._settle(binary)
        finally:
            with self._lock:
                self._busy.pop(threading.current_thread(), None)

    def _next(self) -> str | None:
        """Return the next binary to ask; None, and the thread is counted out, where there is none for it."""
        thread = threading.current_thread()
        with self._lock:
            del self._busy[thread]
            # One too many: others were started while a file system held this one.
            if self._stopped.is_set() or not self._queue or self._working() >= self._concurrency:
                return None
            binary = next(iter(self._queue))
            del self._queue[binary]
            self._busy[thread] = (binary, time.monotonic())
            return binary

    def _settle(self, binary: str) -> None:
        """Find out about ``binary`` unless that is known, keep it and tell it."""
        # Taken before the binary is asked: if it is replaced meanwhile, the result counts for nothing.
        identity = identify(binary)
        old = self._known.get(binary)
        if old is not None and self._holds(binary, old, identity):
            return
        finding = self._probe.ask(binary, identity)
        if self._stopped.is_set():
            return
        new = _Known(identity, finding, time.monotonic() + RETRY_S if finding.passing else None)
        with self._lock:
            self._known.pop(binary, None)
            self._known[binary] = new
            while len(self._known) > self._room:
                del self._known[next(iter(self._known))]
        if old is None or (old.identity, old.finding.features) != (identity, finding.features):
            self._told(binary, finding.features)
