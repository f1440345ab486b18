"""The log: an event name and fields, one line each, on standard error."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import sys
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TextIO, cast

import structlog

from runtimed.core.features import Features
from runtimed.core.message_text import printable
from runtimed.core.report import Report

_log = structlog.get_logger()
# A line of the log stays readable whatever the size of the table; the API's report has all names and problems.
_NAMES_SHOWN = 20
_PROBLEMS_SHOWN = 20

# dockerd's level names -> the levels of Python's logging.
LEVELS: Mapping[str, int] = MappingProxyType(
    {
        "trace": logging.DEBUG,
        "debug": logging.DEBUG,
        "info": logging.INFO,
        "warn": logging.WARNING,
        "warning": logging.WARNING,
        "error": logging.ERROR,
        "fatal": logging.CRITICAL,
        "panic": logging.CRITICAL,
    }
)


def configure_log(level: str, form: str, stream: TextIO | None = None, *, journal: bool = False) -> None:
    """Make every logger write events of ``level`` and above to ``stream`` (standard error).

    ``form`` is ``text`` (readable lines), ``json`` (one object a line) or ``auto``: text on a
    terminal, for the ``journal`` lines with its priorities and without a time, JSON elsewhere. May be
    called again to change the level.
    """
    stream = stream if stream is not None else sys.stderr
    terminal = stream is not None and stream.isatty()
    readable = form == "text" or (form == "auto" and terminal)
    renderer: structlog.typing.Processor
    for_journal = journal and form == "auto" and not terminal
    if for_journal:
        renderer = _render_for_journal
    elif readable:
        renderer = structlog.dev.ConsoleRenderer(colors=terminal, pad_event_to=0)
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            # The journal has the time of its own.
            _unchanged if for_journal else structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if not readable else _make_printable,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing(stream))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


# Levels of structlog -> priorities of the journal (sd-daemon(3)).
_PRIORITIES: Mapping[str, int] = MappingProxyType(
    {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
)


def _render_for_journal(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
    """Return an event as ``<6>event key=value``: the priority, then the words and figures, each in one line."""
    prefix = f"<{_PRIORITIES.get(event.pop('level', 'info'), 6)}>"
    # A traceback has several lines, each an entry of its own; everything else may come from outside, and stays on one.
    traceback = event.pop("exception", "")
    text = " ".join([str(event.pop("event")), *(f"{key}={_journal_value(value)}" for key, value in event.items())])
    return "\n".join(prefix + line for line in (text, *str(traceback).splitlines()))


def _journal_value(value: object) -> str:
    if isinstance(value, str) and value and not any(c in ' "=' or not c.isprintable() for c in value):
        return value
    text = json.dumps(value, default=str, ensure_ascii=False)
    # JSON escapes ESC and BEL, but leaves the C1 controls and the marks that turn the direction of writing.
    return text if text.isprintable() else json.dumps(value, default=str)


class _Bridge(logging.Handler):
    """What libraries log in the standard way (asyncio, watchdog), as events like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take one."""
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] is not None else None
        _log.log(record.levelno, "library", logger=record.name, message=record.getMessage(), exc_info=exc_info)


class _Unfailing:
    """A stream that may be gone, or on a full disk: what cannot be logged must not stop what is being done."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if self._stream is not None:
            # ValueError: it is closed.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()


def _make_printable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Return ``event`` with its texts escaped for a terminal; lists are shown with repr(), which escapes as well."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _unchanged(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event


def log_report(report: Report) -> None:
    """Write the one line of a reload."""
    # What is empty says nothing; 0 does.
    fields = {k: v for k, v in report.as_dict().items() if v is not None and v is not False and v != []}
    del fields["outcome"], fields["time"], fields["problem_count"]
    # The look at the binaries that follows logs these.
    for key in ("unavailable", "unavailable_count", "runtime_count"):
        fields.pop(key, None)
    if report.remarks:
        fields["remarks"] = [str(remark) for remark in report.remarks[:_PROBLEMS_SHOWN]]
    if report.repaired:
        _log.warning("store.repaired", generation=report.generation, repaired=fields.pop("repaired"))
    for key in ("added", "changed", "removed", "ignored", "overridden"):
        if len(names := getattr(report, key)) > _NAMES_SHOWN:
            fields[key] = [*names[:_NAMES_SHOWN], f"and {len(names) - _NAMES_SHOWN} more"]
    match report.outcome:
        case "applied":
            _log.info("reload.applied", **fields)
        case "unchanged":
            _log.info("reload.unchanged", **fields)
        case "rejected":
            more = report.problem_count - _PROBLEMS_SHOWN
            shown = [str(problem) for problem in report.problems[:_PROBLEMS_SHOWN]]
            fields["problems"] = [*shown, f"and {more} more"] if more > 0 else shown
            _log.error("reload.rejected", **fields)


def log_replaceable(come: Mapping[str, str], gone: Collection[str]) -> None:
    """Write which binaries other users could replace, and which not any more."""
    for binary, why in itertools.islice(come.items(), _NAMES_SHOWN):
        _log.warning("binary.replaceable", binary=binary, reason=why)
    for binary in itertools.islice(gone, _NAMES_SHOWN):
        _log.info("binary.trusted", binary=binary)
    if more := max(len(come) - _NAMES_SHOWN, 0) + max(len(gone) - _NAMES_SHOWN, 0):
        _log.warning("binary.more", binaries=more)


def log_features(binary: str, features: Features) -> None:
    """Write what a binary said when it was asked for its features."""
    if features.status == "known":
        _log.debug("features.known", binary=binary)
    else:
        _log.info("features.unknown", binary=binary, reason=features.reason, version=features.version)
