"""Announces events to the log, to subscribers of the API, to the metrics and to the service manager."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import structlog

from runtimed.api.counters import Counters
from runtimed.api.events import Events
from runtimed.core.drift import Drift
from runtimed.core.report import Report, shorten
from runtimed.core.table.generation import Generation
from runtimed.daemon.log import log_report
from runtimed.host.systemd import Notifier

if TYPE_CHECKING:
    from runtimed.core import shapes

log = structlog.get_logger()

# Bound on names and problems in one event, and on events about drift at once. The API's report has all of them.
_SHOWN = 50


def drift_document(drift: Drift, runtimes: tuple[str, ...], most: int) -> shapes.DriftData:
    """Return the JSON shape of ``drift`` with the first ``most`` of the ``runtimes`` that execute the binary."""
    return {**drift.as_dict(), "runtimes": list(runtimes[:most]), "runtime_count": len(runtimes)}


class Announcer:
    """Announces events. Its methods are called on the event loop and do not block.

    ``record`` keeps an event, which is a type and fields, on disk with the current generation.
    """

    def __init__(self, notifier: Notifier, record: Callable[[str, Mapping[str, object]], None]) -> None:
        self.counters = Counters()
        self.events = Events(self._on_drop)
        # The last verification of each engine, by the engine's name: one of core.engines.NAMES.
        self.engines: dict[str, shapes.EngineStatus] = {}
        self._notifier = notifier
        self._record = record
        # systemd expects no other message before the first READY=1.
        self._ready = False
        self._current: Generation | None = None
        self._faults: Mapping[str, str] = {}
        self._polled: Mapping[str, str] = {}

    def ready(self) -> None:
        """Announce that the daemon serves."""
        self._ready = True
        self._notifier.ready(self._status())

    def reloading(self) -> None:
        """Announce that a reload starts; `reloaded` follows."""
        if self._ready:
            self._notifier.reloading()

    def reloaded(self, report: Report, current: Generation) -> None:
        """Announce the ``report`` of a reload and the generation that is ``current`` after it."""
        log_report(report)
        self.counters.count_reload(report.outcome, report.reason, report.duration_ms / 1000, report.time_s)
        short = cast("dict[str, object]", shorten(report.as_dict(), _SHOWN))
        del short["time"]  # every event has one
        self.events.publish("reload", cast("shapes.ReloadData", short))
        # The manifest of a generation keeps its own trigger and changes.
        if report.outcome == "rejected" or report.repaired or report.reason == "start":
            self._record("reload", report.as_kept())
        before, self._current = self._current, current
        if self._ready:
            self._notifier.ready(self._status())
        if before is None or current.number != before.number:
            moved: shapes.GenerationData = {
                "generation": current.number,
                "digest": current.digest,
                "default_runtime": current.config.default_runtime,
                "runtime_count": len(current.runtimes),
            }
            self.events.publish("generation", moved)

    def drifted(
        self,
        begun: Mapping[str, Drift],
        ended: Mapping[str, Drift],
        runtimes: Callable[[str], tuple[str, ...]],
        *,
        loaded: bool,
    ) -> None:
        """Announce the drift that has begun and that has ended, by binary; ``runtimes`` returns those that execute it.

        ``loaded``: drift has ended because a reload has taken the binaries as they are.
        """
        for drift in itertools.islice(begun.values(), _SHOWN):
            fields = drift_document(drift, runtimes(drift.binary), _SHOWN)
            level = log.warning if drift.kind in ("removed", "unusable") else log.info
            level("drift", **{key: value for key, value in fields.items() if value is not None})
            self._publish("drift", fields)
        for drift in itertools.islice(ended.values(), _SHOWN):
            log.info("drift.over", binary=drift.binary, loaded=loaded)
            over: shapes.DriftOverData = {"binary": drift.binary, "kind": "loaded" if loaded else "back"}
            self._publish("drift", over)
        # All binaries may disappear at once with their file system, and no subscriber could read so many events.
        more = max(len(begun) - _SHOWN, 0) + max(len(ended) - _SHOWN, 0)
        if more:
            log.warning("drift.more", binaries=more)
            rest: shapes.DriftMoreData = {"binary": None, "kind": "more", "count": more}
            self._publish("drift", rest)

    def health(self, faults: Mapping[str, str]) -> None:
        """Announce the daemon's ``faults``, by subject, if they have changed."""
        if faults == self._faults:
            return
        self._faults = dict(faults)
        if self._ready:
            self._notifier.status(self._status())
        if faults:
            log.warning("degraded", **faults)
        else:
            log.info("health.ok")
        condition: shapes.Condition = {"status": "degraded" if faults else "ok", "reasons": dict(faults)}
        self._publish("health", condition)

    def watching(self, polled: Mapping[str, str]) -> None:
        """Announce which directories are polled, with the reasons, if they have changed."""
        if polled == self._polled:
            return
        self._polled = dict(polled)
        log.warning("watcher.polling", directories=dict(polled)) if polled else log.info("watcher.inotify")
        watching: shapes.WatcherData = {"mode": "polling" if polled else "inotify", "faults": dict(polled)}
        self.events.publish("watcher", watching)

    def collected(self, file: str, asked_by: str) -> None:
        """Announce that the wrapper ``file`` was removed."""
        log.info("gc.collected", wrapper=file, asked_by=asked_by)
        self.counters.wrappers_collected += 1
        removed: shapes.GcData = {"wrapper": file, "asked_by": asked_by}
        self._publish("gc", removed)

    def verified(self, engine: str, state: shapes.EngineState, detail: str) -> shapes.EngineStatus:
        """Record the outcome of an engine's verification, announce it if it has changed, and return it."""
        before = self.engines.get(engine)
        outcome: shapes.EngineData = {"engine": engine, "state": state, "detail": detail}
        after = self.engines[engine] = {**outcome, "time": round(time.time(), 3)}
        if before is None or (before["state"], before["detail"]) != (state, detail):
            level = log.info if state in ("follows", "not-running") else log.warning
            level("engine", **{key: value for key, value in outcome.items() if value})
            self._publish("engine", outcome)
        return after

    def proved(self, before: Mapping[str, shapes.Proof], after: Mapping[str, shapes.Proof]) -> None:
        """Announce the proofs in ``after``, by runtime, whose state or detail differs from that in ``before``."""
        changed = ((name, proof) for name, proof in after.items() if _differs(before.get(name), proof))
        # As for drift: a replaced binary may be that of all runtimes. The status and the list have all of them.
        for name, proof in itertools.islice(changed, _SHOWN):
            level = log.info if proof["state"] == "proved" else log.warning
            detail = {"detail": proof["detail"]} if proof["detail"] else {}
            level("proof", runtime=name, state=proof["state"], **detail)
            data: dict[str, object] = {"runtime": name, **proof}
            del data["time"]  # every event has one
            self._publish("proof", data)

    def _publish(self, kind: str, fields: Mapping[str, object]) -> None:
        """Send an event to subscribers, and keep it on disk."""
        self.events.publish(kind, fields)
        self._record(kind, fields)

    def _status(self) -> str:
        """Return the line that `systemctl status` shows."""
        current = self._current
        health = "; ".join(f"{subject}: {reason}" for subject, reason in self._faults.items())
        table = "" if current is None else f"generation {current.number}, {len(current.runtimes)} runtimes"
        return f"degraded: {health}; {table}" if health else table

    def _on_drop(self, reason: str) -> None:
        log.warning("subscriber.dropped", reason=reason)
        self.counters.subscribers_dropped += 1


def _differs(before: shapes.Proof | None, after: shapes.Proof) -> bool:
    return before is None or (before["state"], before["detail"]) != (after["state"], after["detail"])
