"""Collecting wrappers: survey, judgement, removal, in that order and never without the first two."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from runtimed.core.collection.collect import Collection, judge_wrappers
from runtimed.core.collection.references import ReferenceScan
from runtimed.core.errors import StoreFailed
from runtimed.core.table.generation import Generation

# How often is looked whether something refers to a wrapper, so that a grace time is watched through: twice in the hour
# that a generation is kept at least, so that one which no generation names any more is seen free for that long.
WATCH_EVERY_S = 1800.0


class Wrappers(Protocol):
    """What the collector needs of the store. Blocking; called in the thread that publishes, and no other."""

    def wrapper_files(self) -> tuple[str, ...]:
        """Return every wrapper file there is."""

    def holding(self) -> Mapping[str, int]:
        """Return which retained generation (the newest) names each wrapper that one names."""

    def remove_wrapper(self, file: str) -> str | None:
        """Remove a wrapper that no generation names; return why that did not happen, None if it did."""


class Collector:
    """Judges and removes wrappers.

    ``scan`` returns what refers to wrappers, and ends within bounded time; ``disk`` runs a call of
    ``wrappers`` in the thread that publishes, so that no generation comes between a look and a removal;
    ``grace_s`` returns the grace time that is configured now; ``removed`` hears of each removal.
    """

    def __init__(
        self,
        wrappers: Wrappers,
        *,
        scan: Callable[[], Awaitable[ReferenceScan]],
        disk: Callable[..., Awaitable[Any]],
        grace_s: Callable[[], float],
        removed: Callable[[str, str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wrappers = wrappers
        self._scan_references = scan
        self._disk = disk
        self._grace_s = grace_s
        self._removed = removed
        self._clock_s = clock_s
        self._lock = asyncio.Lock()
        self._unreferenced_since_s: Mapping[str, float] = {}
        self._handed_out: set[str] = set()

    def published(self, generation: Generation) -> None:
        """Take note that answers name the wrappers of ``generation`` from now on: their grace time begins anew."""
        files = {wrapper.file for wrapper in generation.wrappers}
        self._handed_out |= files
        self._unreferenced_since_s = {f: s for f, s in self._unreferenced_since_s.items() if f not in files}

    async def collect(self, asked_by: str, *, dry_run: bool) -> Collection:
        """Return the verdict on every wrapper, after removing those that may go unless it is a ``dry_run``.

        Raises:
            StoreFailed: the wrappers cannot be looked at.
        """
        async with self._lock:
            begun_s = self._clock_s()
            files, held = await self._disk(self._look)
            # Answers of retained generations are given as well.
            self._handed_out = {file for file in files if file in held or file in self._handed_out}
            # A survey has its cost, and where every wrapper is held it would tell nothing.
            scan = await self._scan_references() if any(file not in held for file in files) else ReferenceScan((), ())
            judgement = judge_wrappers(
                files,
                held,
                scan,
                self._unreferenced_since_s,
                handed_out=self._handed_out,
                begun_s=begun_s,
                now_s=self._clock_s(),
                grace_s=self._grace_s(),
            )
            self._unreferenced_since_s = judgement.unreferenced_since_s
            if dry_run:
                return Collection(judgement.verdicts, (), scan.unknown, dry_run=True)
            verdicts, collected = [], []
            for verdict in judgement.verdicts:
                failure = await self._disk(self._wrappers.remove_wrapper, verdict.file) if verdict.collect else ""
                if failure is None:
                    collected.append(verdict.file)
                    self._removed(verdict.file, asked_by)
                verdicts.append(replace(verdict, reason=failure) if failure else verdict)
            return Collection(tuple(verdicts), tuple(collected), scan.unknown, dry_run=False)

    async def watch(self, automatic: Callable[[], bool], every_s: float = WATCH_EVERY_S) -> None:
        """Look every ``every_s`` whether something refers to wrappers; collect where ``automatic`` says so."""
        while True:
            # StoreFailed: the disk is not what it was; whoever asks is told, and the next look may do better.
            with contextlib.suppress(StoreFailed):
                await self.collect("runtimed.gc of the configuration", dry_run=not automatic())
            await asyncio.sleep(every_s)

    def _look(self) -> tuple[tuple[str, ...], Mapping[str, int]]:
        return self._wrappers.wrapper_files(), dict(self._wrappers.holding())
