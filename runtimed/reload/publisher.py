"""Publishes generations to the data root, repairs the published files, and remembers the steps that failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from runtimed.core.errors import StoreFailed
from runtimed.core.history.trigger import Trigger
from runtimed.core.plan import Plan
from runtimed.core.table.generation import Difference, Generation

# The steps that can fail: writing a generation, the work that follows its swap, and the repair of damaged files.
PUBLISH, SETTLE, DAMAGE = "publish", "settle", "damage"


class RepairOutcome(Protocol):
    """The outcome of a check of the published files, in texts for people.

    ``repaired`` is the damage that was repaired, ``fault`` the damage that could not be repaired, ``remark`` such
    damage in files that the current generation does not need, ``republish`` the reason to publish it again.
    """

    @property
    def repaired(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def fault(self) -> str | None: ...  # noqa: D102
    @property
    def remark(self) -> str | None: ...  # noqa: D102
    @property
    def republish(self) -> str | None: ...  # noqa: D102


class Disk(Protocol):
    """The methods of `runtimed.host.store.table_file.StoreWithTableFile` that are needed here. They block."""

    @property
    def root(self) -> str: ...  # noqa: D102
    @property
    def next_number(self) -> int: ...  # noqa: D102
    def repair(self, generation: Generation) -> RepairOutcome: ...  # noqa: D102
    def publish(  # noqa: D102
        self, generation: Generation, *, retain: int, trigger: Trigger, difference: Difference
    ) -> str | None: ...
    def settle(self, retain: int) -> str | None: ...  # noqa: D102
    def write_table(self, generation: Generation) -> str | None: ...  # noqa: D102


class Publisher:
    """Publishes generations on ``disk``, whose methods ``run_blocking`` calls in a worker thread."""

    def __init__(self, disk: Disk, run_blocking: Callable[..., Awaitable[Any]]) -> None:
        self._disk = disk
        self._run_blocking = run_blocking
        # Those of the generation that the link `runtimes` leads to.
        self.number = 0
        self.digest: str | None = None
        # Step that failed -> error text.
        self.errors: dict[str, str] = {}

    @property
    def fault(self) -> str | None:
        """The errors in one line; None if there are none."""
        return "; ".join(dict.fromkeys(self.errors.values())) or None

    async def ensure_published(
        self, planned: Plan, previous: Generation | None, trigger: Trigger
    ) -> tuple[Generation, tuple[str, ...]]:
        """Return the planned generation as it is published for ``trigger``, and descriptions of repairs of its files.

        A generation with the digest of the published one keeps its number, and its files are checked.

        Raises:
            StoreFailed: it could not be published or repaired.
        """
        generation = planned.generation
        if self.digest != generation.digest:
            await self._publish(generation, trigger, planned.difference)
            return generation, ()
        # Only the origins of definitions can differ.
        generation = replace(generation, number=self.number)
        if previous is None:
            await self.write_table(generation)
            return generation, ()
        return await self.repair(generation, trigger)

    async def settle(self, current: Generation) -> None:
        """Repeat the steps that failed after the last swap, if any did."""
        if SETTLE in self.errors:
            self._set_error(SETTLE, await self._run_blocking(self._disk.settle, current.config.runtimed.retain))

    async def write_table(self, generation: Generation) -> None:
        """Write the table file at a start whose generation is published already; `settle` repeats a failure."""
        self._set_error(SETTLE, await self._run_blocking(self._disk.write_table, generation))

    async def repair(self, generation: Generation, trigger: Trigger) -> tuple[Generation, tuple[str, ...]]:
        """Return ``generation``, which is published, and descriptions of the repairs of its files; settle it first.

        A generation whose directory is damaged is published again under the next number, for ``trigger``.

        Raises:
            StoreFailed: some damage could not be repaired.
        """
        await self.settle(generation)
        try:
            outcome: RepairOutcome = await self._run_blocking(self._disk.repair, generation)
            if outcome.fault is not None:
                raise StoreFailed("repairing", self._disk.root, outcome.fault)  # noqa: TRY301 - as of the calls
            self._set_error(DAMAGE, outcome.remark)
            if outcome.republish is None:
                return generation, outcome.repaired
            again = replace(generation, number=self._disk.next_number)
            await self._publish(again, trigger, Difference())
        except StoreFailed as error:
            self._set_error(DAMAGE, str(error))
            raise
        text = f"{outcome.republish}: generation {generation.number} was published anew as {again.number}"
        return again, (*outcome.repaired, text)

    async def _publish(self, generation: Generation, trigger: Trigger, difference: Difference) -> None:
        retain = generation.config.runtimed.retain
        fault = await self._run_blocking(
            self._disk.publish, generation, retain=retain, trigger=trigger, difference=difference
        )
        self.number, self.digest = generation.number, generation.digest
        self._set_error(SETTLE, fault)

    def _set_error(self, step: str, error: str | None) -> None:
        if error is None:
            self.errors.pop(step, None)
        else:
            self.errors[step] = error
