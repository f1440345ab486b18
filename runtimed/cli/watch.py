"""Renders events as lines for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtimed.cli.engine_state import render_engine
from runtimed.cli.humanize import counted, local_time, place, trigger, with_detail
from runtimed.cli.proof_state import proof_state, state_text
from runtimed.cli.render import MARKS, health_colour
from runtimed.cli.tables import Document, render_line
from runtimed.cli.terminal import GREEN, PLAIN, RED, YELLOW, Terminal


def render_event(event: Document, terminal: Terminal = PLAIN) -> str | None:
    """Return one event as one line, None for a heartbeat."""
    kind = event["type"]
    if kind == "heartbeat":
        return None
    renderers: dict[str, Callable[[Document], str]] = {
        "reload": _reload,
        "generation": _generation,
        "health": lambda event: with_detail(event["status"], _reasons(event["reasons"])),
        "drift": _drift,
        "watcher": lambda event: with_detail(event["mode"], _reasons(event["faults"])),
        "engine": lambda event: str(render_engine(event).value),
        "proof": lambda event: with_detail(f"{event['runtime']} is {state_text(event['state'])}", event["detail"]),
        "gc": lambda event: f"{event['wrapper']} removed, requested by {event['asked_by']}",
    }
    text = renderers.get(kind, _reason)(event)
    return render_line(f"{local_time(event['time'])}  {kind:<10}  {text}".rstrip(), _colour(event), terminal)


def _reason(event: Document) -> str:
    return str(event.get("reason", ""))


def _colour(event: Document) -> int | None:
    """Return green for a success, red or yellow for a fault, and None for most events."""
    if event["type"] == "reload":
        return {"applied": GREEN, "rejected": RED}.get(event["outcome"])
    if event["type"] == "health":
        return health_colour(event["status"])
    if event["type"] == "engine":
        return render_engine(event).colour
    if event["type"] == "proof":
        return proof_state(event).colour
    bad = event["type"] == "drift" and event["kind"] in ("removed", "unusable")
    return YELLOW if bad or (event["type"] == "watcher" and event["mode"] == "polling") else None


def _reload(event: Document) -> str:
    text = f"{event['outcome']}, generation {event['generation']} ({trigger(event['reason'])})"
    if event["outcome"] == "rejected":
        first = event["problems"][0]
        where = place(first["file"], first["line"], first["column"])
        more = event["problem_count"] - 1
        return f"{text}: {where}: {first['message']}" + (f" (and {more} more)" if more else "")
    if event["outcome"] == "applied":
        text = f"{text}, {' '.join(f'{mark}{len(event[key])}' for key, (mark, _) in MARKS.items())}"
    return with_detail(text, "; ".join(event["repaired"]))


def _generation(event: Document) -> str:
    runtimes = counted(event["runtime_count"], "runtime")
    return f"{event['generation']} is current: {runtimes}, default {event['default_runtime']}"


def _reasons(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{subject}: {reason}" for subject, reason in reasons.items())


def _drift(event: Document) -> str:
    if event["kind"] == "back":
        return f"{event['binary']} is the same again as when the configuration was loaded"
    if event["kind"] == "loaded":
        return f"{event['binary']}: the configuration was loaded with the binary as it is now"
    if event["kind"] == "more":
        return f"and {event['count']} other binaries; runtimectl list shows all"
    kind = "made unusable" if event["kind"] == "unusable" else event["kind"]
    text = with_detail(f"{event['binary']} was {kind}", event["reason"])
    return f"{text}; runs {', '.join(event['runtimes'])}"
