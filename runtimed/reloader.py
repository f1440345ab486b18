"""The one mutable reference, the one lock, the report.

Every trigger ends in :meth:`Reloader._attempt`: read, plan, publish, assign, report. Until the
publish nothing has changed, after it nothing can fail; so there is nothing to roll back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import structlog

from runtimed.core.config import BOOT_ONLY, Documents, Settings
from runtimed.core.errors import ConfigurationRejected, Problem, StartFailed, StoreFailed
from runtimed.core.generation import Difference, Generation, build_generation, compare_answers
from runtimed.core.manifest import Manifest, restore_config
from runtimed.core.plan import Frame, Plan, plan
from runtimed.core.report import Report

if TYPE_CHECKING:
    from runtimed.core.news import Outcome

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")

# When documents that were good, but could not be published, are tried again by a hint: the disk may have room by then.
RETRY_S = 25.0


class Disk(Protocol):
    """What the reloader needs of the store; ``publish`` blocks and returns what went wrong after the swap."""

    @property
    def next_number(self) -> int:
        """The number that the next generation gets."""

    def publish(self, generation: Generation, *, retain: int) -> str | None:
        """Make ``generation`` current on disk, or raise StoreFailed; keep at least the newest ``retain``."""

    def settle(self, retain: int) -> str | None:
        """Try again what failed after the last swap; return what fails now, None if nothing does."""


class Threads(Protocol):
    """Runs a blocking function in a thread, as :meth:`runtimed.host.lane.Lane.run` does."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Return what ``function`` returns."""


@dataclass(slots=True)
class _Batch:
    """Requests that came while a reload ran, and share the next one."""

    task: asyncio.Task[Report]
    reasons: dict[str, None] = field(default_factory=dict)


class Reloader:
    """Holds the current generation and moves it on.

    ``read`` returns the documents at one instant and ends within bounded time; ``threads`` runs what
    would hold up the event loop; ``begun`` hears of every reload that begins, ``told``
    of its report and of what is current after it: not of dry runs, nor of what is tried again and fails again.
    ``planner`` is :func:`runtimed.core.plan.plan`, or does the same in its own way.
    """

    def __init__(
        self,
        frame: Frame,
        *,
        read: Callable[[], Awaitable[Documents]],
        disk: Disk,
        threads: Threads,
        begun: Callable[[], None],
        told: Callable[[Report, Generation], None],
        planner: Callable[..., Plan] = plan,
        retry_s: float = RETRY_S,
    ) -> None:
        self._frame = frame
        self._read = read
        self._disk = disk
        self._threads = threads
        self._begun = begun
        self._told = told
        self._planner = planner
        self._retry_s = retry_s
        # When to try again, at the earliest, what the disk refused; and whether that is a publish.
        self._retry_at_s = 0.0
        self._unpublished = False
        self._lock = asyncio.Lock()
        self._waiting: dict[bool, _Batch] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._current: Generation | None = None
        # What was on disk at the start.
        self._last_run: Manifest | None = None
        self._last: Report | None = None
        # Number and digest of the generation that `runtimes` on disk leads to.
        self._published: tuple[int, str] | None = None
        # The files that the current generation came from.
        self._sources: tuple[str, ...] = ()
        # The documents of the last attempt: a hint that finds the same ones is no change.
        self._seen: Documents | None = None
        # What makes the daemon degraded: subject -> in words.
        self._faults: dict[str, str] = {}

    @property
    def current(self) -> Generation:
        """The generation that answers are given from. Capture it once for each request and pass it down."""
        if self._current is None:
            raise RuntimeError("asked for a generation before the start has published one")
        return self._current

    @property
    def last(self) -> Report | None:
        """The report of the last reload that was more than a dry run."""
        return self._last

    @property
    def faults(self) -> Mapping[str, str]:
        """Why the daemon is degraded, by subject; empty when it is well."""
        return dict(self._faults)

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
        from_here = manifest is not None and manifest.configuration == self._frame.config_path
        last_good = manifest if from_here else None
        self._last_run = manifest
        if manifest is not None and published:
            self._published = (manifest.number, manifest.digest)
        if last_good is not None:
            self._sources = last_good.sources
        async with self._lock:
            self._begun()
            started_s = time.monotonic()
            self._seen = documents
            report = await self._carry_out(await self._examine(documents), "start", started_s)
            if report.outcome == "rejected":
                if last_good is None:
                    raise StartFailed(report.problems)
                await self._restore(last_good, config_text, report)
                report = replace(report, generation=self.current.number)
            self._conclude(report)
        self._last_run = None
        return report

    async def reload(self, reason: str, *, dry_run: bool = False) -> Report:
        """Return the report of a reload that began after this call; a ``dry_run`` only plans it.

        Calls that arrive while one reload runs share the next one; dry runs share only with dry runs.
        """
        batch = self._waiting.get(dry_run)
        if batch is None:
            task = self._kept(self._run_waiting(dry_run=dry_run))
            batch = self._waiting[dry_run] = _Batch(task)
        batch.reasons[reason] = None
        # Shielded: one client that goes away must not take the answer from the others.
        return await asyncio.shield(batch.task)

    async def reload_changed(self, believe: Callable[[Documents], bool]) -> bool:
        """Reload if the documents are not those of the last attempt; return whether nothing is left to be done.

        False: they look half-written, and ``believe``, asked whether to take them as they are, does not.
        """
        # Shielded like a request: a publish that is cut off from its assignment would leave the two apart.
        return await asyncio.shield(self._kept(self._run_changed(believe)))

    async def stop(self, timeout_s: float = 2.0) -> None:
        """Wait for a reload that is under way, but not longer than ``timeout_s``: its reading may hang."""
        tasks = tuple(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()

    def _kept(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        """Return a task that goes on when whoever waits for it is cancelled, and that ``stop`` waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run_waiting(self, *, dry_run: bool) -> Report:
        async with self._lock:
            # Whoever comes from here on shares the next one: this one may already have read the files.
            batch = self._waiting.pop(dry_run)
            if not dry_run:
                self._begun()
            report = await self._attempt(", ".join(batch.reasons), dry_run=dry_run)
            if not dry_run:
                self._conclude(report)
            return report

    async def _run_changed(self, believe: Callable[[Documents], bool]) -> bool:
        async with self._lock:
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
                self._conclude(report)
        return True

    async def _is_worth_a_retry(self) -> bool:
        """Return whether the last attempt's documents were good, and it is time to try again to publish them.

        What failed after the last swap is tried again here as well, whatever the documents are.
        """
        if time.monotonic() < self._retry_at_s or not (self._unpublished or "store" in self._faults):
            return False
        self._retry_at_s = time.monotonic() + self._retry_s
        if "store" in self._faults:
            await self._settle()
        return self._unpublished

    async def _settle(self) -> None:
        self._set_fault("store", await self._threads(self._disk.settle, self.current.config.own.retain))

    async def _attempt(self, reason: str, *, dry_run: bool = False) -> Report:
        started_s = time.monotonic()
        documents = await self._read()
        if not dry_run:
            self._seen = documents
        return await self._carry_out(await self._examine(documents), reason, started_s, dry_run=dry_run)

    async def _examine(self, documents: Documents) -> Plan | ConfigurationRejected:
        try:
            return await self._threads(
                self._planner, documents, self._frame, self._disk.next_number, self._current, self._main_required()
            )
        except ConfigurationRejected as rejection:
            return rejection
        except Exception as error:  # noqa: BLE001 - whatever a file makes of us, the old answers go on
            return ConfigurationRejected((_unforeseen(error),))

    async def _carry_out(
        self, examined: Plan | ConfigurationRejected, reason: str, started_s: float, *, dry_run: bool = False
    ) -> Report:
        """Return the report of what became of ``examined``, after making it current unless it is a ``dry_run``."""
        if isinstance(examined, ConfigurationRejected):
            self._unpublished = self._unpublished and dry_run
            return self._report("rejected", reason, started_s, problems=examined.problems, dry_run=dry_run)
        generation = examined.generation
        config = generation.config
        unchanged = self._published is not None and self._published[1] == generation.digest
        difference = self._difference_to_last_run(generation) or examined.difference
        if not dry_run:
            try:
                await self._adopt(generation)
            except Exception as error:  # noqa: BLE001 - as above
                self._unpublished = True
                self._retry_at_s = time.monotonic() + self._retry_s
                problem = Problem(str(error)) if isinstance(error, StoreFailed) else _unforeseen(error)
                return self._report("rejected", reason, started_s, problems=(problem,))
            self._unpublished = False
            self._retry_at_s = time.monotonic() + self._retry_s
        return self._report(
            "unchanged" if unchanged else "applied",
            reason,
            started_s,
            added=difference.added,
            changed=difference.changed,
            removed=difference.removed,
            default_runtime=difference.default_runtime,
            restart_required=self._restart_required(config.settings),
            ignored=config.ignored,
            overridden=config.overridden,
            dry_run=dry_run,
        )

    def _difference_to_last_run(self, generation: Generation) -> Difference | None:
        """Return what a start changes for the clients of the last run, None later on and at the very first."""
        if self._current is not None or self._last_run is None:
            return None
        digests = {name: str(answer["digest"]) for name, answer in self._last_run.answers.items()}
        return compare_answers(digests, self._last_run.default_runtime, generation)

    async def _adopt(self, generation: Generation) -> None:
        """Make ``generation`` current: published first, unless it is what is published already."""
        if self._published is not None and self._published[1] == generation.digest:
            # Origins may have moved; all else is the same.
            generation = replace(generation, number=self._published[0])
            if "store" in self._faults:
                await self._settle()
        else:
            fault = await self._threads(self._disk.publish, generation, retain=generation.config.own.retain)
            self._published = (generation.number, generation.digest)
            self._set_fault("store", fault)
        self._current = generation
        self._sources = generation.config.sources

    async def _restore(self, manifest: Manifest, config_text: bytes, report: Report) -> None:
        """Make the last good generation current, which ``manifest`` and ``config_text`` describe."""
        try:
            config = restore_config(manifest, config_text, self._frame.defaults, self._frame.flags)
        except ConfigurationRejected:
            # Another version wrote it; what is wrong with the documents is what the administrator can mend.
            raise StartFailed(report.problems) from None
        generation = build_generation(config, self._frame.host, self._disk.next_number)
        try:
            await self._adopt(generation)
        except StoreFailed:
            # A new version, say, on a full disk. The table may go on under its old number if it is the same.
            answers = manifest.answers
            table = {name: runtime.answer.digest for name, runtime in generation.runtimes.items()}
            if table != {name: answer["digest"] for name, answer in answers.items()}:
                raise StartFailed(report.problems) from None
            self._current = replace(generation, number=manifest.number)

    def _conclude(self, report: Report) -> None:
        self._last = report
        if report.outcome == "rejected":
            first, more = report.problems[0], len(report.problems) - 1
            self._set_fault("configuration", f"{first}" + (f" (and {more} more)" if more else ""))
        else:
            self._set_fault("configuration", None)
        self._told(report, self.current)

    def _set_fault(self, subject: str, text: str | None) -> None:
        if text is None:
            self._faults.pop(subject, None)
        else:
            self._faults[subject] = text

    def _report(self, outcome: Outcome, reason: str, started_s: float, **found: Any) -> Report:
        return Report(
            outcome,
            self._current.number if self._current is not None else 0,
            reason,
            duration_ms=round((time.monotonic() - started_s) * 1000, 3),
            time_s=round(time.time(), 3),
            **found,
        )

    def _main_required(self) -> str | None:
        if self._frame.main_required is None and self._frame.config_path in self._sources:
            return "the current generation came from it; write {} to it to empty the table"
        return self._frame.main_required

    def _restart_required(self, settings: Settings) -> tuple[str, ...]:
        boot = self._frame.boot
        return tuple(key for key, name in BOOT_ONLY.items() if getattr(settings, name) != getattr(boot, name))


def _unforeseen(error: Exception) -> Problem:
    log.error("reload.failed", exc_info=error)
    return Problem(f"an error in runtimed itself, which its log shows in full: {error!r}; please report it")
