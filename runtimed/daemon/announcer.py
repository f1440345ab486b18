"""What happens, told to everybody who may want to know: the log, the subscribers, the metrics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from runtimed.api.counters import Counters
from runtimed.api.events import Events
from runtimed.core.drift import Drift
from runtimed.core.report import Report, shorten
from runtimed.core.table.generation import Generation
from runtimed.daemon.log import log_report

if TYPE_CHECKING:
    from runtimed.core import shapes

log = structlog.get_logger()

# Whoever wants all names or problems asks for the report; an event says that there is one.
_SHOWN = 50


class Manager(Protocol):
    """What is told to the service manager."""

    def ready(self, status: str) -> None:
        """Tell that the daemon serves, for the first time or after a reload."""

    def reloading(self) -> None:
        """Tell that a reload has begun."""

    def status(self, status: str) -> None:
        """Tell how the daemon is, in one line."""


class Announcer:
    """Tells what happened. Everything here is called on the event loop and does not block."""

    def __init__(self, manager: Manager) -> None:
        self.counters = Counters()
        self.events = Events(self._dropped)
        self._manager = manager
        # Whether the manager knows that we serve; before that it wants to hear nothing else.
        self._ready = False
        self._current: Generation | None = None
        self._faults: Mapping[str, str] = {}
        self._polled: Mapping[str, str] = {}

    def ready(self) -> None:
        """Tell that the daemon serves."""
        self._ready = True
        self._manager.ready(self._status())

    def reloading(self) -> None:
        """Tell that a reload has begun; `reloaded` follows."""
        if self._ready:
            self._manager.reloading()

    def reloaded(self, report: Report, current: Generation) -> None:
        """Tell how a reload ended, and what is current after it."""
        log_report(report)
        self.counters.count_reload(report.outcome, report.reason, report.duration_ms / 1000, report.time_s)
        short = cast("dict[str, object]", shorten(report.as_dict(), _SHOWN))
        del short["time"]  # the event has its own
        self.events.publish("reload", cast("shapes.ReloadNews", short))
        before, self._current = self._current, current
        if self._ready:
            self._manager.ready(self._status())
        if before is None or current.number != before.number:
            moved: shapes.GenerationNews = {
                "generation": current.number,
                "digest": current.digest,
                "default_runtime": current.config.default_runtime,
                "runtime_count": len(current.runtimes),
            }
            self.events.publish("generation", moved)

    def drifted(
        self,
        come: Mapping[str, Drift],
        gone: Mapping[str, Drift],
        runtimes: Callable[[str], tuple[str, ...]],
        *,
        loaded: bool,
    ) -> None:
        """Tell which binaries have changed, which ``runtimes`` execute them, and which have not any more.

        ``loaded``: what is gone is gone because the configuration was loaded, with the binaries as they are now.
        """
        for drift in itertools.islice(come.values(), _SHOWN):
            names = runtimes(drift.binary)
            fields: shapes.DriftNews = {
                **drift.as_dict(),
                "runtimes": list(names[:_SHOWN]),
                "runtime_count": len(names),
            }
            level = log.warning if drift.kind in ("removed", "unusable") else log.info
            level("drift", **{key: value for key, value in fields.items() if value is not None})
            self.events.publish("drift", fields)
        for drift in itertools.islice(gone.values(), _SHOWN):
            log.info("drift.over", binary=drift.binary, loaded=loaded)
            over: shapes.DriftOverNews = {"binary": drift.binary, "kind": "loaded" if loaded else "back"}
            self.events.publish("drift", over)
        # A file system with all of the binaries may go at once, and no subscriber could read so much so fast.
        more = max(len(come) - _SHOWN, 0) + max(len(gone) - _SHOWN, 0)
        if more:
            log.warning("drift.more", binaries=more)
            rest: shapes.DriftMoreNews = {"binary": None, "kind": "more", "count": more}
            self.events.publish("drift", rest)

    def health(self, faults: Mapping[str, str]) -> None:
        """Tell that the daemon has become degraded or well, or degraded for another reason."""
        if faults == self._faults:
            return
        self._faults = dict(faults)
        if self._ready:
            self._manager.status(self._status())
        if faults:
            log.warning("degraded", **faults)
        else:
            log.info("well")
        condition: shapes.Condition = {"status": "degraded" if faults else "ok", "reasons": dict(faults)}
        self.events.publish("health", condition)

    def watching(self, polled: Mapping[str, str]) -> None:
        """Tell which directories are read by the clock, because events do not tell of them."""
        if polled == self._polled:
            return
        self._polled = dict(polled)
        log.warning("watcher.polling", directories=dict(polled)) if polled else log.info("watcher.inotify")
        watching: shapes.WatcherNews = {"mode": "polling" if polled else "inotify", "faults": dict(polled)}
        self.events.publish("watcher", watching)

    def collected(self, file: str, asked_by: str) -> None:
        """Tell that a wrapper was removed."""
        log.info("gc.collected", wrapper=file, asked_by=asked_by)
        self.counters.wrappers_collected += 1
        removed: shapes.GcNews = {"wrapper": file, "asked_by": asked_by}
        self.events.publish("gc", removed)

    def _status(self) -> str:
        """Return how the daemon is, as `systemctl status` shows it."""
        current = self._current
        health = "; ".join(f"{subject}: {reason}" for subject, reason in self._faults.items())
        table = "" if current is None else f"generation {current.number}, {len(current.runtimes)} runtimes"
        return f"degraded: {health}; {table}" if health else table

    def _dropped(self, reason: str) -> None:
        log.warning("subscriber.dropped", reason=reason)
        self.counters.subscribers_dropped += 1
