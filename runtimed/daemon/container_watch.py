"""Looks at the containers on this node in threads, within bounded time: pins, and references to wrappers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import structlog

from runtimed.core.collection.references import ReferenceScan
from runtimed.core.config import Engine
from runtimed.core.containers import Kept, PinnedContainer, describe_containers, summarise_kept
from runtimed.core.history.layout import CURRENT, PINS
from runtimed.core.table.generation import Generation
from runtimed.host.containerd import list_containers
from runtimed.host.containers import scan_references
from runtimed.host.pins import PinDirectory
from runtimed.host.store import Store
from runtimed.host.worker import Worker
from runtimed.inspection.pinned_containers import PinnedContainers

log = structlog.get_logger()

# Interval between looks at the containers.
EVERY_S = 60.0
# Time after which a reference scan counts as failed, so that every wrapper is kept.
SCAN_TIMEOUT_S = 60.0
# Time that a start waits for the look at the containers of an earlier process. Then it goes on, because the state
# directory of an engine may hang.
_TAKE_OVER_TIMEOUT_S = 5.0


class ContainerWatch:
    """The looks at containers, for the daemon with ``store`` and the directory ``exec_root``.

    ``stack`` ends its threads. ``engines`` are always the configured containerds.
    """

    def __init__(self, store: Store, exec_root: str, stack: AsyncExitStack) -> None:
        directory, stable = PinDirectory(f"{exec_root}/{PINS}"), f"{store.root}/{CURRENT}"
        self.pinned = PinnedContainers(directory, stable=stable, target_at=store.retained.target_at)
        self._store = store
        # Two, because a report must not wait for a scan, which an engine can block.
        self._worker, self._pins_worker = Worker("scanning"), Worker("pins")
        for worker in (self._worker, self._pins_worker):
            stack.callback(worker.close)

    async def take_over(self, earlier_exec_root: str | None, engines: Sequence[Engine]) -> None:
        """Make the directory of pins, before the first launcher is published, and pin the containers that have none.

        ``earlier_exec_root`` is that of the generation on disk, whose pins are copied.
        """
        earlier = f"{earlier_exec_root}/{PINS}" if earlier_exec_root is not None else None
        try:
            async with asyncio.timeout(_TAKE_OVER_TIMEOUT_S):
                await self._worker.run(self.pinned.take_over, earlier, engines)
        except TimeoutError:
            log.warning("pins.look_timed_out", timeout_s=_TAKE_OVER_TIMEOUT_S)
        except Exception:
            # The daemon must start: its clients need the table, and launchers need no daemon.
            log.exception("pins.look_failed")

    async def watch(self, engines: Callable[[], Sequence[Engine]], every_s: float = EVERY_S) -> None:
        """Look at the containers of the ``engines`` of the moment every ``every_s`` seconds until cancelled."""
        while True:
            try:
                await self.look(engines())
            except Exception:
                log.exception("pins.look_failed")
            await asyncio.sleep(every_s)

    async def look(self, engines: Sequence[Engine]) -> None:
        """Remove the pins of containers that are gone, and pin containers that have none."""
        async with asyncio.timeout(SCAN_TIMEOUT_S):
            await self._worker.run(self.pinned.look, engines)

    async def find_kept(self, generation: Generation) -> tuple[Kept, ...]:
        """Return the definitions that containers keep and that ``generation`` has no more."""
        return await self._pins_worker.run(self._find_kept, generation)

    async def find_pin_references(self) -> ReferenceScan:
        """Return the references of the pins that are recorded now."""
        return await self._pins_worker.run(self.pinned.references)

    async def find_references(self, engines: Sequence[Engine]) -> ReferenceScan:
        """Return all references to wrappers on this node; if that fails, the reason as ``unknown``."""
        try:
            async with asyncio.timeout(SCAN_TIMEOUT_S):
                return await self._worker.run(self._scan, engines)
        except TimeoutError:
            return ReferenceScan((), (f"the reference scan took longer than {SCAN_TIMEOUT_S:g} s",))
        except Exception as error:  # noqa: BLE001 - after an incomplete scan every wrapper is kept
            return ReferenceScan((), (f"the reference scan failed: {error!r}",))

    def describe(self, generation: Generation) -> tuple[PinnedContainer, ...]:
        """Return the containers that have a pin now, compared with ``generation``. Blocks."""
        return describe_containers(
            self.pinned.read(), generation, self._store.retained.name_of, self._store.retained.generation_of
        )

    def _find_kept(self, generation: Generation) -> tuple[Kept, ...]:
        return summarise_kept(self.describe(generation))

    def _scan(self, engines: Sequence[Engine]) -> ReferenceScan:
        pins = self.pinned.look(engines)
        list_within = partial(list_containers, timeout_s=SCAN_TIMEOUT_S / 2)
        return scan_references(engines, below=self._store.root, list_containers=list_within, pins=pins)
