"""Renders the verification of an engine as a line for people."""

from __future__ import annotations

from runtimed.cli.humanize import duration, with_detail
from runtimed.cli.tables import Document
from runtimed.cli.terminal import YELLOW, Tinted


def render_engine(engine: Document, now_s: float | None = None) -> Tinted:
    """Return the outcome of an engine's verification, with its age at ``now_s`` (seconds since the epoch) if given."""
    age = "" if now_s is None else f" ({duration(max(0.0, now_s - engine['time']))} ago)"
    text = with_detail(f"{engine['engine']} {engine['state']}{age}", engine["detail"])
    return Tinted(text, YELLOW if engine["state"] in ("differs", "not-told", "unknown") else None)
