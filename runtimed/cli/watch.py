"""Events as lines for people."""

from __future__ import annotations

import time

from runtimed.cli.humanize import counted
from runtimed.cli.render import health_colour
from runtimed.cli.tables import render_line
from runtimed.cli.terminal import GREEN, PLAIN, RED, YELLOW, Terminal, Tinted

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Document = Mapping[str, Any]


def render_event(event: Document, terminal: Terminal = PLAIN) -> str | None:
    """Return one event as one line; None for a heartbeat, which is nobody's news."""
    kind = event["type"]
    if kind == "heartbeat":
        return None
    render = {
        "reload": _reload,
        "generation": _generation,
        "health": _health,
        "drift": _drift,
        "watcher": _watcher,
        "gc": _gc,
    }.get(kind)
    text = render(event) if render is not None else str(event.get("reason", ""))
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(event['time']))}  {kind:<10}  {text}".rstrip()
    colour = _colour(event)
    return render_line(line if colour is None else Tinted(line, colour), terminal)


def _colour(event: Document) -> int | None:
    """Return the colour of good news and of bad; of most there is none."""
    if event["type"] == "reload":
        return {"applied": GREEN, "rejected": RED}.get(event["outcome"])
    if event["type"] == "health":
        return health_colour(event["status"])
    bad = (event["type"], event.get("kind")) in (("drift", "removed"), ("drift", "unusable"))
    return YELLOW if bad or (event["type"], event.get("mode")) == ("watcher", "polling") else None


def _reload(event: Document) -> str:
    changes = [f"{mark}{len(event[key])}" for mark, key in (("+", "added"), ("~", "changed"), ("-", "removed"))]
    text = f"{event['outcome']}, generation {event['generation']}, by {event['reason']}"
    if event["outcome"] == "rejected":
        first = event["problems"][0]
        place = ":".join(str(first[key]) for key in ("file", "line", "column") if first.get(key) is not None)
        more = event["problem_count"] - 1
        return f"{text}: {place}: {first['message']}" + (f" (and {more} more)" if more else "")
    if event["outcome"] == "applied":
        text = f"{text} ({' '.join(changes)})"
    # A daemon of an earlier version says nothing of it.
    repaired = event.get("repaired")
    return f"{text}: {'; '.join(repaired)}" if repaired else text


def _generation(event: Document) -> str:
    runtimes = counted(event["runtime_count"], "runtime")
    return f"{event['generation']} is current: {runtimes}, default {event['default_runtime']}"


def _health(event: Document) -> str:
    reasons = "; ".join(f"{subject}: {reason}" for subject, reason in event["reasons"].items())
    return f"{event['status']}: {reasons}" if reasons else str(event["status"])


def _drift(event: Document) -> str:
    if event["kind"] == "back":
        return f"{event['binary']} is again what it was when the configuration was loaded"
    if event["kind"] == "loaded":
        return f"{event['binary']}: the configuration was loaded with what it is now"
    if event["kind"] == "more":
        return f"and {event['count']} other binaries; runtimectl list shows all"
    reason = f": {event['reason']}" if event.get("reason") else ""
    kind = "made unusable" if event["kind"] == "unusable" else event["kind"]
    return f"{event['binary']} was {kind}{reason}; runs {', '.join(event['runtimes'])}"


def _watcher(event: Document) -> str:
    faults = "; ".join(f"{directory}: {reason}" for directory, reason in event["faults"].items())
    return f"{event['mode']}: {faults}" if faults else str(event["mode"])


def _gc(event: Document) -> str:
    return f"{event['wrapper']} removed, asked by {event['asked_by']}"
