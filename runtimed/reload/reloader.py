"""Holds the current generation and replaces it: read, plan, publish, assign, report.

Every trigger runs this sequence, one run at a time (`coalesce`). Nothing changes before the publish and nothing can
fail after it, so there is no rollback.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runtimed.core.config import Config
from runtimed.core.configuration.inputs import Documents
from runtimed.core.containers import Kept
from runtimed.core.errors import ConfigurationRejected, Problem, StartFailed, StoreFailed
from runtimed.core.history.manifest import Manifest, compare_with_manifest
from runtimed.core.history.trigger import Trigger
from runtimed.core.plan import BootContext, Plan, describe_plan, plan, report_on, restore_generation
from runtimed.core.report import Report
from runtimed.core.table.availability import Unavailable
from runtimed.core.table.generation import Generation
from runtimed.reload.coalesce import Coalescer
from runtimed.reload.examine import Examiner, internal_error
from runtimed.reload.look import Looks
from runtimed.reload.publisher import DAMAGE, PUBLISH, SETTLE, Disk, Publisher
from runtimed.reload.replaced import Replaced

if TYPE_CHECKING:
    from runtimed.core import shapes

# Time between two attempts to publish valid documents that the disk did not take. A hint triggers the attempt.
RETRY_S = 25.0


class Reloader:
    """Holds the current generation and replaces it.

    ``read`` returns the documents at one instant, within bounded time. ``run_blocking`` calls a function in a
    worker thread. ``on_begin`` is called when a reload starts, ``on_report`` with its report and the current
    generation; not for dry runs, nor for a retry that fails as before. ``on_repair`` is called with the report of a
    repair outside of a reload. ``find_unavailable`` returns the unusable runtimes of a generation, ``find_kept`` the
    definitions that containers keep and that it has no more. ``planner`` is `runtimed.core.plan.plan`, or wraps it.
    """

    # Absent until `start` has published a generation. No property, because every request reads it.
    current: Generation

    def __init__(
        self,
        context: BootContext,
        *,
        read: Callable[[], Awaitable[Documents]],
        disk: Disk,
        run_blocking: Callable[..., Awaitable[Any]],
        on_begin: Callable[[], None],
        on_report: Callable[[Report, Generation], None],
        on_repair: Callable[[Report, Generation], None],
        find_unavailable: Callable[[Generation], Awaitable[tuple[Unavailable, ...]]],
        find_kept: Callable[[Generation], Awaitable[tuple[Kept, ...]]],
        planner: Callable[..., Plan] = plan,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._read = read
        self._disk = disk
        self._run_blocking = run_blocking
        self._on_begin = on_begin
        self._on_report = on_report
        self._on_repair = on_repair
        self._looks = Looks(find_unavailable, find_kept)
        self._clock_s = clock_s
        self._examiner = Examiner(context, planner, run_blocking)
        self._publisher = Publisher(disk, run_blocking)
        self._replaced = Replaced(run_blocking)
        self._coalescer: Coalescer[Report] = Coalescer()
        # The report of the last reload that was not a dry run, and the documents of the last attempt.
        self.last: Report | None = None
        self._seen: Documents | None = None
        # The trigger of the last valid documents if the disk refused them, and the earliest time of the next attempt.
        self._unpublished: Trigger | None = None
        self._retry_at_s = 0.0

    @property
    def _previous(self) -> Generation | None:
        return getattr(self, "current", None)

    @property
    def faults(self) -> Mapping[str, str]:
        """Why the daemon is degraded, by subject; empty when it is not."""
        # A failure of the disk is no fault of the configuration.
        configuration = self.last.fault if self.last is not None and self.last.cause == "configuration" else None
        faults = {"configuration": configuration, "store": self._publisher.fault}
        return {subject: text for subject, text in faults.items() if text is not None}

    async def start(
        self,
        documents: Documents,
        manifest: Manifest | None,
        config_text: bytes,
        *,
        published: bool,
        parsed: Config | None = None,
    ) -> None:
        """Make the first generation current, that of ``documents``; `plan` in `core` describes ``parsed``.

        ``manifest`` and ``config_text`` are the last generation on disk, if any; when it is ``published`` and the
        configuration has the same meaning, its number is kept and the disk is not written. With a broken
        configuration, the last good generation of the same main file becomes current.

        Raises:
            StartFailed: there is no such generation.
        """
        last_good = manifest if manifest is not None and manifest.configuration == self._context.config_path else None
        if manifest is not None and published:
            self._publisher.number, self._publisher.digest = manifest.number, manifest.digest
        if last_good is not None:
            self._examiner.sources, self._examiner.number = last_good.sources, last_good.number
        async with self._coalescer.lock:
            self._on_begin()
            started_s = self._clock_s()
            self._seen = documents
            examined = await self._examine(documents, parsed)
            if isinstance(examined, Plan) and manifest is not None:
                # Clients of the last run have seen that generation.
                examined = replace(examined, difference=compare_with_manifest(manifest, examined.generation))
            report = await self._apply(
                examined, await self._examiner.compare(Trigger(("start",)), documents), started_s
            )
            if report.outcome == "rejected":
                if last_good is None:
                    raise StartFailed(report.problems)
                await self._restore(last_good, config_text, report)
                report = replace(report, generation=self.current.number)
            self._conclude(report)

    async def reload(self, trigger: Trigger, *, dry_run: bool = False) -> Report:
        """Return the report of a reload that starts after this call; a ``dry_run`` only plans it.

        Calls that arrive during a reload share the next one; dry runs share only with dry runs.
        """
        return await self._coalescer.run_shared(self._run_dry if dry_run else self._run, trigger)

    async def reload_changed(self, is_settled: Callable[[Documents], bool]) -> bool:
        """Reload if the documents differ from those of the last attempt; return whether the hint is dealt with.

        False: the documents look half-written, and ``is_settled`` returns false for them.
        """
        return await self._coalescer.run(partial(self._run_changed, is_settled))

    async def repair(self) -> None:
        """Repair damaged published files, and report the repair."""
        await self._coalescer.run(self._run_repair)

    async def stop(self, timeout_s: float = 2.0) -> None:
        """Wait up to ``timeout_s`` for a running reload, whose reading may hang."""
        await self._coalescer.stop(timeout_s)

    async def _run(self, trigger: Trigger) -> Report:
        self._on_begin()
        started_s = self._clock_s()
        documents = self._seen = await self._read()
        examined = await self._examine(documents)
        report = await self._apply(examined, await self._examiner.compare(trigger, documents), started_s)
        return await self._look_and_conclude(report)

    async def _run_dry(self, trigger: Trigger) -> Report:
        started_s = self._clock_s()
        examined = await self._examine(await self._read())
        report = replace(report_on(examined, self._context, trigger.reason, self._publisher.digest), dry_run=True)
        if isinstance(examined, Plan):
            number = self.current.number if report.outcome == "unchanged" else examined.generation.number
            report = replace(report, changes=await self._run_blocking(describe_plan, examined, self.current, number))
            report = await self._looks.add_to(report, examined.generation)
            self._replaced.free(examined.generation)
        return self._finish(report, started_s)

    async def _run_repair(self) -> None:
        started_s, trigger = self._clock_s(), Trigger(("repair",))
        before, was_damaged = self.current, DAMAGE in self._publisher.errors
        try:
            self.current, repaired = await self._publisher.repair(before, trigger)
            self._examiner.number = self.current.number
        except StoreFailed:
            return  # `faults` has the error
        if repaired:
            outcome: shapes.Outcome = "unchanged" if self.current.number == before.number else "applied"
            report = Report(outcome, 0, trigger.reason, repaired=repaired, trigger=trigger)
            self._on_repair(self._finish(report, started_s), self.current)
        if was_damaged and self._unpublished is not None:
            # The disk accepts writes again.
            await self._run(self._retry)

    async def _run_changed(self, is_settled: Callable[[Documents], bool]) -> bool:
        started_s = self._clock_s()
        documents = await self._read()
        is_retry = documents == self._seen
        if is_retry:
            if not self._is_retry_due():
                return True
            self._retry_at_s = self._clock_s() + RETRY_S
            await self._publisher.settle(self.current)
            if self._unpublished is None:
                return True
        examined = await self._examine(documents)
        if isinstance(examined, ConfigurationRejected) and examined.incomplete and not is_settled(documents):
            return False
        self._seen = documents
        before = self.last.problems if self.last is not None else None, self.faults
        if not is_retry:
            self._on_begin()
        trigger = await self._examiner.compare(self._retry if is_retry else Trigger(("file-change",)), documents)
        report = await self._apply(examined, trigger, started_s)
        # A retry that fails as before is not reported again.
        if not is_retry or (report.problems, self.faults) != before:
            await self._look_and_conclude(report)
        return True

    def _is_retry_due(self) -> bool:
        """Return whether a step on the disk failed, and it is time to repeat it."""
        failed = self._unpublished is not None or SETTLE in self._publisher.errors
        return failed and self._clock_s() >= self._retry_at_s

    async def _examine(self, documents: Documents, parsed: Config | None = None) -> Plan | ConfigurationRejected:
        return await self._examiner.examine(documents, self._disk.next_number, self._previous, parsed)

    @property
    def _retry(self) -> Trigger:
        """The trigger of another attempt to publish documents that the disk refused: with the actors of the first."""
        return Trigger(("retry",), () if self._unpublished is None else self._unpublished.actors)

    async def _apply(self, examined: Plan | ConfigurationRejected, trigger: Trigger, started_s: float) -> Report:
        """Make the generation of ``examined`` current where there is one, and return the report."""
        reason = trigger.reason
        report = report_on(examined, self._context, reason, self._publisher.digest)
        self._unpublished = None
        self._publisher.errors.pop(PUBLISH, None)
        if isinstance(examined, Plan):
            before = self._previous
            try:
                repaired = await self._make_current(examined, trigger)
                if repaired and before is not None:
                    republished = self.current.number != before.number
                    report = replace(report, repaired=repaired, outcome="applied" if republished else "unchanged")
            except StoreFailed as error:
                self._unpublished = trigger
                self._publisher.errors[PUBLISH] = str(error)
                report = Report("rejected", 0, reason, problems=(Problem(str(error)),), cause="store")
            except Exception as error:  # noqa: BLE001 - as above
                self._unpublished = trigger
                report = Report("rejected", 0, reason, problems=(internal_error(error),), cause="configuration")
            self._retry_at_s = self._clock_s() + RETRY_S
        return self._finish(replace(report, trigger=trigger), started_s)

    async def _make_current(self, planned: Plan, trigger: Trigger) -> tuple[str, ...]:
        """Publish the planned generation, then assign it; return descriptions of the repairs of its files."""
        generation, repaired = await self._publisher.ensure_published(planned, self._previous, trigger)
        self._replaced.add(self._previous)
        self.current = generation
        self._examiner.sources, self._examiner.number = generation.config.sources, generation.number
        return repaired

    async def _restore(self, manifest: Manifest, config_text: bytes, report: Report) -> None:
        """Make the last good generation current, which ``manifest`` and ``config_text`` describe."""
        try:
            generation = restore_generation(manifest, config_text, self._context, self._disk.next_number)
        except ConfigurationRejected:
            # Other flags or another version of the program refuse it. The administrator can fix the documents.
            raise StartFailed(report.problems) from None
        difference = compare_with_manifest(manifest, generation)
        try:
            await self._make_current(Plan(generation, difference), Trigger(("start",)))
        except StoreFailed:
            # After an upgrade on a full disk, the same table is served under its old number.
            if difference.changes_resolutions:
                raise StartFailed(report.problems) from None
            self.current = replace(generation, number=manifest.number)
            await self._publisher.write_table(self.current)

    def _finish(self, report: Report, started_s: float) -> Report:
        """Return ``report`` with the number of the current generation and the times of an attempt that ends now."""
        return replace(
            report,
            generation=self._previous.number if self._previous is not None else 0,
            duration_ms=round((self._clock_s() - started_s) * 1000, 3),
            time_s=round(time.time(), 3),
        )

    async def _look_and_conclude(self, report: Report) -> Report:
        # The health must not wait for the looks.
        self.last = report
        report = await self._looks.add_to(report, self.current)
        self._conclude(report)
        self._replaced.free()
        return report

    def _conclude(self, report: Report) -> None:
        self.last = report
        self._on_report(report, self.current)
