"""Collects wrappers: scans for references, judges each wrapper, removes the unreferenced ones."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from runtimed.core.collection.collect import Collection, Verdict, find_reasons, judge_wrappers
from runtimed.core.collection.references import ReferenceScan
from runtimed.core.errors import StoreFailed
from runtimed.host.store import Store

# Interval between reference scans; at least two scans must fall into the grace time. A generation is retained for an
# hour, in which two scans find its wrappers referenced.
WATCH_EVERY_S = 1800.0
# Time that a launcher that was loaded before its removal has to record its pin.
LOADED_S = 1.0
# Time after which reading the pins counts as failed, so that every wrapper is kept.
_PINS_TIMEOUT_S = 10.0


class Collector:
    """Judges and removes the wrappers and launchers of ``store``.

    ``scan`` returns the references to wrappers, within bounded time; ``read_pins`` returns those of pins alone.
    ``disk`` calls a method of ``store`` in the thread that publishes, so that no publish comes between the judgement
    and a removal. ``grace_s`` returns the configured grace time. ``on_removed`` is called for each removal, with the
    file and the requester. ``loaded_s`` is the time between the removal of launchers and that of other wrappers.
    """

    def __init__(
        self,
        store: Store,
        *,
        scan: Callable[[], Awaitable[ReferenceScan]],
        read_pins: Callable[[], Awaitable[ReferenceScan]],
        disk: Callable[..., Awaitable[Any]],
        grace_s: Callable[[], float],
        on_removed: Callable[[str, str], None],
        clock_s: Callable[[], float] = time.monotonic,
        loaded_s: float = LOADED_S,
    ) -> None:
        self._store = store
        self._scan_references = scan
        self._read_pins = read_pins
        self._disk = disk
        self._grace_s = grace_s
        self._on_removed = on_removed
        self._clock_s = clock_s
        self._loaded_s = loaded_s
        self._lock = asyncio.Lock()
        self._unreferenced_since_s: Mapping[str, float] = {}
        self._handed_out: set[str] = set()

    async def collect(self, asked_by: str, *, dry_run: bool) -> Collection:
        """Return the verdict on every wrapper, after removing the unreferenced ones unless it is a ``dry_run``.

        Raises:
            StoreFailed: the wrappers cannot be listed.
        """
        return await self._collect(asked_by, dry_run=dry_run, held_as_well=True)

    async def _collect(self, asked_by: str, *, dry_run: bool, held_as_well: bool) -> Collection:
        """Do as `collect`, with the verdicts on wrappers of retained generations only if ``held_as_well``."""
        async with self._lock:
            begun_s = self._clock_s()
            listed, unheld, held, linked = await self._disk(self._list)
            # A scan is expensive, and has no use where a retained generation holds every wrapper.
            scan = await self._scan_references() if unheld else ReferenceScan((), ())
            judgement = judge_wrappers(
                listed if held_as_well else unheld,
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
            files = tuple(verdict.file for verdict in judgement.verdicts if verdict.collect)
            kept = await self._remove(files, linked, asked_by)
            verdicts = tuple(kept.get(verdict.file, verdict) for verdict in judgement.verdicts)
            collected = tuple(file for file in files if file not in kept)
            return Collection(verdicts, collected, scan.unknown, dry_run=False)

    async def watch(self, automatic: Callable[[], bool], every_s: float = WATCH_EVERY_S) -> None:
        """Scan for references every ``every_s`` seconds; remove unreferenced wrappers if ``automatic`` returns true."""
        while True:
            # The next scan may succeed; a client that requests one gets the error.
            with contextlib.suppress(StoreFailed):
                # Tens of thousands of verdicts would block the event loop.
                await self._collect("runtimed.gc of the configuration", dry_run=not automatic(), held_as_well=False)
            await asyncio.sleep(every_s)

    async def _remove(self, files: Sequence[str], linked: frozenset[str], asked_by: str) -> Mapping[str, Verdict]:
        """Remove ``files``, those that a stable path leads to first; return the verdicts on those that stay."""
        kept: dict[str, Verdict] = {}
        launchers = [file for file in files if file in linked]
        for file in launchers:
            await self._remove_file(file, asked_by, kept)
        others = [file for file in files if file not in linked]
        if launchers and others:
            await asyncio.sleep(self._loaded_s)
        reason_to_keep = find_reasons(await self._find_pins() if others else ReferenceScan((), ()))
        for file in others:
            if (reason := reason_to_keep(file)) is not None:
                kept[file] = Verdict(file, collect=False, reason=reason)
            else:
                await self._remove_file(file, asked_by, kept)
        return kept

    async def _remove_file(self, file: str, asked_by: str, kept: dict[str, Verdict]) -> None:
        failure = await self._disk(self._store.remove_wrapper, file)
        if failure is None:
            self._on_removed(file, asked_by)
        else:
            kept[file] = Verdict(file, collect=True, reason=failure)

    async def _find_pins(self) -> ReferenceScan:
        try:
            async with asyncio.timeout(_PINS_TIMEOUT_S):
                return await self._read_pins()
        except TimeoutError:
            return ReferenceScan((), (f"reading the pins took longer than {_PINS_TIMEOUT_S:g} s",))

    def _list(self) -> tuple[frozenset[str], frozenset[str], Mapping[str, int], frozenset[str]]:
        """Return the wrappers, those that no retained generation names, the numbers of the others, and the linked ones.

        Takes up what was published since the last scan. In a thread, because a large table has many wrappers.
        """
        listed, held = frozenset(self._store.wrapper_files()), self._store.retained.references()
        # Responses have named these, so their grace time starts again. Their generation may be dropped by now.
        published = self._store.take_published_files()
        self._unreferenced_since_s = {f: s for f, s in self._unreferenced_since_s.items() if f not in published}
        # Responses from retained generations name their wrappers as well.
        self._handed_out = {file for file in listed if file in published or file in held or file in self._handed_out}
        return listed, frozenset(file for file in listed if file not in held), held, self._store.linked_files()
