"""The one mutable reference, and the one way that it moves: read, plan, publish, assign, report.

Every trigger ends there, one after the other (`turns`). Until the publish nothing has changed, after
it nothing can fail; so there is nothing to roll back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

import structlog

from runtimed.core.config import Documents
from runtimed.core.errors import ConfigurationRejected, Problem, StartFailed, StoreFailed
from runtimed.core.history.manifest import Manifest, compare_with_manifest
from runtimed.core.plan import Frame, Plan, describe_plan, plan, report_on, restore_generation
from runtimed.core.report import Report
from runtimed.core.table.availability import Unavailable
from runtimed.core.table.generation import Generation
from runtimed.reload.coalesce import Coalescer

if TYPE_CHECKING:
    from runtimed.core import shapes

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")

# When documents that were good, but could not be published, are tried again by a hint: the disk may have room by then.
RETRY_S = 25.0
# How long a report waits for the look at the runtimes' files. The reload itself is done by then.
LOOK_TIMEOUT_S = 2.0
# The steps that the subject `store` of the faults is about: writing a generation, what follows its swap, and damage
# that was found later.
_PUBLISH, _SETTLE, _DAMAGE = "publish", "settle", "damage"


class Mended(Protocol):
    """The outcome of a look at the published files, in words."""

    @property
    def repaired(self) -> tuple[str, ...]:
        """The damage that was found and repaired."""

    @property
    def fault(self) -> str | None:
        """The damage that could not be repaired."""

    @property
    def remark(self) -> str | None:
        """The damage that nothing can be done about, and that the current generation does not depend on."""

    @property
    def republish(self) -> str | None:
        """Why the current generation has to be published anew."""


async def _find_none(_generation: Generation) -> tuple[Unavailable, ...]:
    return ()


class Disk(Protocol):
    """What the reloader needs of the store; ``publish`` blocks and returns what went wrong after the swap."""

    @property
    def root(self) -> str:
        """The path of the data root."""

    def mend(self, generation: Generation) -> Mended:
        """Look at the published files of the current ``generation``, and repair those that are damaged."""

    @property
    def next_number(self) -> int:
        """The number that the next generation gets."""

    def publish(self, generation: Generation, *, retain: int) -> str | None:
        """Make ``generation`` current on disk, or raise StoreFailed; keep at least the newest ``retain``."""

    def settle(self, retain: int) -> str | None:
        """Try again what failed after the last swap; return what fails now, None if nothing does."""


class Threads(Protocol):
    """Runs a blocking function in a thread, as :meth:`runtimed.host.worker.Worker.run` does."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Return what ``function`` returns."""


class Reloader:
    """Holds the current generation and moves it on.

    ``read`` returns the documents at one instant and ends within bounded time; ``threads`` runs what
    would hold up the event loop; ``begun`` hears of every reload that begins, ``told``
    of its report and of what is current after it: not of dry runs, nor of what is tried again and fails again.
    ``repaired`` is called with the report of a repair outside of a reload, and the current generation.
    ``find_unavailable`` returns the runtimes of a generation that cannot be used, within bounded time.
    ``planner`` is :func:`runtimed.core.plan.plan`, or does the same in its own way.
    """

    # The generation that answers are given from; there is none before the start has published one. Capture it once for
    # each request and pass it down. No property: every answer looks at it.
    current: Generation

    def __init__(
        self,
        frame: Frame,
        *,
        read: Callable[[], Awaitable[Documents]],
        disk: Disk,
        threads: Threads,
        begun: Callable[[], None],
        told: Callable[[Report, Generation], None],
        repaired: Callable[[Report, Generation], None] = lambda _report, _current: None,
        find_unavailable: Callable[[Generation], Awaitable[tuple[Unavailable, ...]]] = _find_none,
        planner: Callable[..., Plan] = plan,
        retry_s: float = RETRY_S,
    ) -> None:
        self._frame = frame
        self._read = read
        self._disk = disk
        self._threads = threads
        self._begun = begun
        self._told = told
        self._tell_repaired = repaired
        self._find_unavailable = find_unavailable
        self._planner = planner
        self._retry_s = retry_s
        # When to try again, at the earliest, what the disk refused; and whether that is a publish.
        self._retry_at_s = 0.0
        self._unpublished = False
        self._turns: Coalescer[Report] = Coalescer()
        self._last: Report | None = None
        # Number and digest of the generation that `runtimes` on disk leads to.
        self._published: tuple[int, str] | None = None
        # The files that the current generation came from.
        self._sources: tuple[str, ...] = ()
        # The documents of the last attempt: a hint that finds the same ones is no change.
        self._seen: Documents | None = None
        # What makes the daemon degraded: subject -> in words.
        self._faults: dict[str, str] = {}
        # The same for the subject `store`, which several steps can fail with: step -> in words.
        self._store_faults: dict[str, str] = {}

    @property
    def _previous(self) -> Generation | None:
        return getattr(self, "current", None)

    @property
    def last(self) -> Report | None:
        """The report of the last reload that was more than a dry run."""
        return self._last

    @property
    def faults(self) -> Mapping[str, str]:
        """Why the daemon is degraded, by subject; empty when it is well."""
        store = "; ".join(dict.fromkeys(self._store_faults.values()))
        return {**self._faults, **({"store": store} if store else {})}

    async def start(
        self, documents: Documents, manifest: Manifest | None, config_text: bytes, *, published: bool
    ) -> Report:
        """Make the first generation current, that of ``documents``, and return the report of how.

        ``manifest`` and ``config_text`` are the last generation on disk, if any; when it is
        ``published`` and what the configuration means now, its number is kept and nothing is written.
        A broken configuration is answered by the last good generation of the same main file.

        Raises:
            StartFailed: there is no such generation.
        """
        last_good = manifest if manifest is not None and manifest.configuration == self._frame.config_path else None
        if manifest is not None and published:
            self._published = (manifest.number, manifest.digest)
        if last_good is not None:
            self._sources = last_good.sources
        async with self._turns.lock:
            self._begun()
            started_s = time.monotonic()
            self._seen = documents
            examined = await self._examine(documents)
            if isinstance(examined, Plan) and manifest is not None:
                # What is new to the clients of the last run, not to nobody.
                examined = replace(examined, difference=compare_with_manifest(manifest, examined.generation))
            report = await self._carry_out(examined, "start", started_s)
            if report.outcome == "rejected":
                if last_good is None:
                    raise StartFailed(report.problems)
                await self._restore(last_good, config_text, report)
                report = replace(report, generation=self.current.number)
            self._conclude(report)
        return report

    async def reload(self, reason: str, *, dry_run: bool = False) -> Report:
        """Return the report of a reload that began after this call; a ``dry_run`` only plans it.

        Calls that arrive while one reload runs share the next one; dry runs share only with dry runs.
        """
        return await self._turns.share(self._rehearse if dry_run else self._run, reason)

    async def reload_changed(self, believe: Callable[[Documents], bool]) -> bool:
        """Reload if the documents are not those of the last attempt; return whether nothing is left to be done.

        False: they look half-written, and ``believe``, asked whether to take them as they are, does not.
        """
        return await self._turns.take(partial(self._run_changed, believe))

    async def repair(self) -> None:
        """Repair the published files where they are damaged. A report is made only where something was repaired."""
        await self._turns.take(self._run_repair)

    async def stop(self, timeout_s: float = 2.0) -> None:
        """Wait for a reload that is under way, but not longer than ``timeout_s``: its reading may hang."""
        await self._turns.stop(timeout_s)

    async def _run(self, reason: str) -> Report:
        self._begun()
        started_s = time.monotonic()
        documents = self._seen = await self._read()
        report = await self._carry_out(await self._examine(documents), reason, started_s)
        report = await self._completed(report, self.current)
        self._conclude(report)
        return report

    async def _run_repair(self) -> None:
        started_s = time.monotonic()
        before, was_damaged = self.current, _DAMAGE in self._store_faults
        try:
            self.current, repaired = await self._mend(before)
        except StoreFailed as error:
            _set_fault(self._store_faults, _DAMAGE, str(error))
            return
        if repaired:
            report = Report(_outcome(before, self.current), 0, "repair", repaired=repaired)
            self._tell_repaired(self._ended(report, started_s), self.current)
        if was_damaged and self._unpublished:
            # What kept the disk from being repaired kept it from being written to as well.
            await self._run("retry")

    async def _mend(self, generation: Generation) -> tuple[Generation, tuple[str, ...]]:
        """Return ``generation``, which is published, and what was repaired of its files, in words.

        Where its directory is damaged it is published anew and gets another number.

        Raises:
            StoreFailed: something could not be repaired.
        """
        mended = await self._threads(self._disk.mend, generation)
        if mended.fault is not None:
            raise StoreFailed("repairing", self._disk.root, mended.fault)
        _set_fault(self._store_faults, _DAMAGE, mended.remark)
        if mended.republish is None:
            return generation, mended.repaired
        anew = replace(generation, number=self._disk.next_number)
        await self._publish(anew)
        words = f"{mended.republish}: generation {generation.number} was published anew as {anew.number}"
        return anew, (*mended.repaired, words)

    async def _rehearse(self, reason: str) -> Report:
        """Return the report of a reload that is planned and not done."""
        started_s = time.monotonic()
        examined = await self._examine(await self._read())
        report = replace(self._report(examined, reason), dry_run=True)
        if isinstance(examined, Plan):
            number = self.current.number if report.outcome == "unchanged" else examined.generation.number
            report = replace(report, changes=await self._threads(describe_plan, examined, self.current, number))
            report = await self._completed(report, examined.generation)
        return self._ended(report, started_s)

    async def _run_changed(self, believe: Callable[[Documents], bool]) -> bool:
        started_s = time.monotonic()
        documents = await self._read()
        again = documents == self._seen
        if again and not await self._is_worth_a_retry():
            return True
        examined = await self._examine(documents)
        half_written = isinstance(examined, ConfigurationRejected) and examined.incomplete
        if half_written and not believe(documents):
            return False
        self._seen = documents
        faults = self.faults
        if not again:
            self._begun()
        report = await self._carry_out(examined, "retry" if again else "file-change", started_s)
        # That a disk is still full is no news.
        news = (report.problems, self.faults) != (self._last.problems if self._last is not None else None, faults)
        if not again or news:
            self._conclude(await self._completed(report, self.current))
        return True

    async def _is_worth_a_retry(self) -> bool:
        """Return whether the last attempt's documents were good, and it is time to try again to publish them.

        What failed after the last swap is tried again here as well, whatever the documents are.
        """
        if time.monotonic() < self._retry_at_s or not (self._unpublished or _SETTLE in self._store_faults):
            return False
        self._retry_at_s = time.monotonic() + self._retry_s
        if _SETTLE in self._store_faults:
            await self._settle()
        return self._unpublished

    async def _settle(self) -> None:
        fault = await self._threads(self._disk.settle, self.current.config.own.retain)
        _set_fault(self._store_faults, _SETTLE, fault)

    async def _examine(self, documents: Documents) -> Plan | ConfigurationRejected:
        try:
            number, required = self._disk.next_number, self._frame.requires_main(self._sources)
            return await self._threads(self._planner, documents, self._frame, number, self._previous, required)
        except ConfigurationRejected as rejection:
            return rejection
        except Exception as error:  # noqa: BLE001 - whatever a file makes of us, the old answers go on
            return ConfigurationRejected((_unforeseen(error),))

    async def _carry_out(self, examined: Plan | ConfigurationRejected, reason: str, started_s: float) -> Report:
        """Return the report of what became of ``examined``, after making it current where it can be."""
        report = self._report(examined, reason)
        self._unpublished = False
        _set_fault(self._store_faults, _PUBLISH, None)
        if isinstance(examined, Plan):
            try:
                before = self._previous
                repaired = await self._adopt(examined.generation)
                if repaired and before is not None:
                    report = replace(report, repaired=repaired, outcome=_outcome(before, self.current))
            except StoreFailed as error:
                self._unpublished = True
                _set_fault(self._store_faults, _PUBLISH, str(error))
                report = Report("rejected", 0, reason, problems=(Problem(str(error)),), cause="store")
            except Exception as error:  # noqa: BLE001 - as above
                self._unpublished = True
                report = Report("rejected", 0, reason, problems=(_unforeseen(error),), cause="configuration")
            self._retry_at_s = time.monotonic() + self._retry_s
        return self._ended(report, started_s)

    def _report(self, examined: Plan | ConfigurationRejected, reason: str) -> Report:
        """Return the report of ``examined``, as if all that can be done about it had been; see also `_ended`."""
        published = self._published[1] if self._published is not None else None
        return report_on(examined, self._frame, reason, published)

    async def _completed(self, report: Report, generation: Generation) -> Report:
        """Return ``report`` with the runtimes of ``generation`` that cannot be used, unless it is a rejection."""
        if report.outcome == "rejected":
            return report
        unavailable: tuple[Unavailable, ...] = ()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                unavailable = await self._find_unavailable(generation)
        except TimeoutError:
            log.warning("reload.look_timed_out", timeout_s=LOOK_TIMEOUT_S)
        except Exception:
            log.exception("reload.look_failed")
        return replace(report, unavailable=unavailable, runtimes=len(generation.runtimes))

    def _ended(self, report: Report, started_s: float) -> Report:
        """Return ``report`` as that of an attempt that ends now, with what is current after it."""
        return replace(
            report,
            generation=self._previous.number if self._previous is not None else 0,
            duration_ms=round((time.monotonic() - started_s) * 1000, 3),
            time_s=round(time.time(), 3),
        )

    async def _adopt(self, generation: Generation) -> tuple[str, ...]:
        """Make ``generation`` current: published first, unless it is what is published already.

        Returns what was repaired of the files of one that is, in words.
        """
        repaired: tuple[str, ...] = ()
        if self._published is not None and self._published[1] == generation.digest:
            # Origins may have moved; all else is the same.
            generation = replace(generation, number=self._published[0])
            if _SETTLE in self._store_faults:
                await self._settle()
            if self._previous is not None:
                try:
                    generation, repaired = await self._mend(generation)
                except StoreFailed as error:
                    _set_fault(self._store_faults, _DAMAGE, str(error))
                    raise
        else:
            await self._publish(generation)
        self.current = generation
        self._sources = generation.config.sources
        return repaired

    async def _publish(self, generation: Generation) -> None:
        fault = await self._threads(self._disk.publish, generation, retain=generation.config.own.retain)
        self._published = (generation.number, generation.digest)
        _set_fault(self._store_faults, _SETTLE, fault)

    async def _restore(self, manifest: Manifest, config_text: bytes, report: Report) -> None:
        """Make the last good generation current, which ``manifest`` and ``config_text`` describe."""
        try:
            generation = restore_generation(manifest, config_text, self._frame, self._disk.next_number)
        except ConfigurationRejected:
            # Another version wrote it; what is wrong with the documents is what the administrator can mend.
            raise StartFailed(report.problems) from None
        try:
            await self._adopt(generation)
        except StoreFailed:
            # A new version, say, on a full disk. The table may go on under its old number if it is the same.
            if compare_with_manifest(manifest, generation).has_other_answers:
                raise StartFailed(report.problems) from None
            self.current = replace(generation, number=manifest.number)

    def _conclude(self, report: Report) -> None:
        self._last = report
        # A configuration that the disk did not take is none that anybody could correct.
        _set_fault(self._faults, "configuration", report.fault if report.cause == "configuration" else None)
        self._told(report, self.current)


def _outcome(before: Generation, current: Generation) -> shapes.Outcome:
    """Return the outcome of a reload or repair that changed no answer: with a new number it was a publish."""
    return "unchanged" if before.number == current.number else "applied"


def _set_fault(faults: dict[str, str], subject: str, text: str | None) -> None:
    if text is None:
        faults.pop(subject, None)
    else:
        faults[subject] = text


def _unforeseen(error: Exception) -> Problem:
    log.error("reload.failed", exc_info=error)
    return Problem(f"an error in runtimed itself, which its log shows in full: {error!r}; please report it")
