"""Writes the log: an event name and fields, one line for each event, on standard error."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TextIO, cast

import structlog

from runtimed.core.features import Features
from runtimed.core.message_text import printable
from runtimed.core.report import Report

_log = structlog.get_logger()
# Bound on names and on problems in one line. The API's report has all of them.
_SHOWN = 20
# Levels of structlog -> priorities of the journal (sd-daemon(3)).
_PRIORITIES: Mapping[str, int] = MappingProxyType({"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2})


def configure_log(level: str, form: str, stream: TextIO | None = None, *, journal: bool = False) -> None:
    """Make every logger write events of ``level`` (as in `Settings`) and above to ``stream`` (standard error).

    ``form`` is ``text`` (readable lines), ``json`` (one object a line) or ``auto``: text on a terminal; lines without
    times for the ``journal``; JSON elsewhere. Each line for the journal has its priority, except with ``text``. May be
    called again to change the level.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level]
    if journal and form == "auto" and not terminal:
        processors += [structlog.processors.format_exc_info, _render_for_journal]
    else:
        processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        if form == "text" or (form == "auto" and terminal):
            processors += [_make_printable, structlog.dev.ConsoleRenderer(colors=terminal, pad_event_to=0)]
        else:
            processors.append(structlog.processors.format_exc_info)
            processors.append(_render_json_for_journal if journal else structlog.processors.JSONRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _UnfailingStream(stream))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_StructlogHandler()], level=logging.WARNING, force=True)


def _render_for_journal(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
    """Return an event as ``<6>event key=value``: the priority, then the event name and fields, on one line."""
    prefix = f"<{_PRIORITIES[event.pop('level')]}>"
    # Each line of a traceback is an entry. All other texts may come from outside, and must stay on one line.
    traceback = event.pop("exception", "")
    text = " ".join([str(event.pop("event")), *(f"{key}={_journal_value(value)}" for key, value in event.items())])
    return "\n".join(prefix + line for line in (text, *str(traceback).splitlines()))


def _render_json_for_journal(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
    """Return an event as a JSON object on one line, behind the priority, which the journal takes off."""
    return f"<{_PRIORITIES[event['level']]}>{json.dumps(event, default=repr)}"


def _journal_value(value: object) -> str:
    if isinstance(value, str) and value and not any(c in ' "=' or not c.isprintable() for c in value):
        return value
    text = json.dumps(value, default=str, ensure_ascii=False)
    # JSON escapes ESC and BEL, but neither C1 controls nor bidirectional marks.
    return text if text.isprintable() else json.dumps(value, default=str)


class _StructlogHandler(logging.Handler):
    """Passes the records of libraries that use `logging` (asyncio, watchdog) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] is not None else None
        _log.log(record.levelno, "library", logger=record.name, message=record.getMessage(), exc_info=exc_info)


class _UnfailingStream:
    """A stream whose errors are ignored: a full disk or a closed pipe must not stop the work that is logged."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _make_printable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Return ``event`` with its texts escaped for a terminal; the renderer shows lists with repr(), which escapes."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def log_report(report: Report) -> None:
    """Log a reload."""
    # 0 is a value; empty fields are left out.
    fields = {k: v for k, v in report.as_dict().items() if v is not None and v is not False and v != []}
    del fields["outcome"], fields["time"], fields["problem_count"]
    # The look at the binaries that follows logs these.
    for key in ("unavailable", "unavailable_count", "runtime_count", "kept_count"):
        fields.pop(key, None)
    if report.remarks:
        fields["remarks"] = [str(remark) for remark in report.remarks[:_SHOWN]]
    if report.kept:
        fields["kept"] = _first(report.kept, len(report.kept))
    if report.repaired:
        _log.warning("store.repaired", generation=report.generation, repaired=fields.pop("repaired"))
    for key in ("added", "changed", "removed", "ignored", "overridden"):
        if len(names := getattr(report, key)) > _SHOWN:
            fields[key] = _first(names, len(names))
    if report.outcome == "rejected":
        fields["problems"] = _first(report.problems, report.problem_count)
        _log.error("reload.rejected", **fields)
    else:
        _log.info("reload.applied" if report.outcome == "applied" else "reload.unchanged", **fields)


def _first(values: Sequence[object], count: int) -> list[str]:
    """Return the first of ``values`` as texts, and how many more of ``count`` there are."""
    shown = [str(value) for value in values[:_SHOWN]]
    return [*shown, f"and {count - _SHOWN} more"] if count > _SHOWN else shown


def log_replaceable(begun: Mapping[str, str], ended: Collection[str]) -> None:
    """Log which binaries other users can replace since the last look, with the reasons, and which no longer."""
    for binary, reason in itertools.islice(begun.items(), _SHOWN):
        _log.warning("binary.replaceable", binary=binary, reason=reason)
    for binary in itertools.islice(ended, _SHOWN):
        _log.info("binary.trusted", binary=binary)
    if more := max(len(begun) - _SHOWN, 0) + max(len(ended) - _SHOWN, 0):
        _log.warning("binary.more", binaries=more)


def log_features(binary: str, features: Features) -> None:
    """Log the result of a probe."""
    if features.status == "known":
        _log.debug("features.known", binary=binary)
    else:
        _log.info("features.unknown", binary=binary, reason=features.reason, version=features.version)
