"""Renders the containers that have a pin as lines for people."""

from __future__ import annotations

import re

from runtimed.cli.humanize import counted
from runtimed.cli.tables import Document, Field, list_fields, render_table
from runtimed.cli.terminal import PLAIN, YELLOW, Terminal, Tinted

# Docker, containerd's CRI plugin and podman make such ids, and show the first twelve digits.
_LONG_ID = re.compile(r"[0-9a-f]{64}")
_SHORT_DIGITS = 12
# The most containers that the description of a runtime shows.
_SHOWN = 10


def render_containers(document: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return a line for each container; an asterisk marks those that keep an older definition of their runtime.

    Where the width is limited, an id of 64 digits is cut to 12.
    """
    containers = document["containers"]
    if not containers:
        return ["no container has a pin; runtimectl status shows unreadable pins, and containers without a pin"]
    rows = [
        (
            f"{_id(container, terminal)}{' *' if container['outdated'] else ''}",
            container["runtime"],
            _generation(container),
            Tinted(container["binary"], YELLOW if container["outdated"] else None),
            container["root"] or "none",
        )
        for container in containers
    ]
    lines = render_table(("CONTAINER", "RUNTIME", "GENERATION", "BINARY", "ROOT"), rows, terminal)
    outdated = sum(container["outdated"] for container in containers)
    verb = "keeps" if outdated == 1 else "keep"
    total = counted(len(containers), "container")
    return [*lines, f"* {outdated} of {total} {verb} an older definition"] if outdated else lines


def list_containers(document: Document, runtime: str) -> list[Field]:
    """Return the fields about the containers of a runtime: ten of them, and how many more there are."""
    containers = [each for each in document["containers"] if each["runtime"] == runtime]
    shown = [Tinted(_line(each), YELLOW if each["outdated"] else None) for each in containers[:_SHOWN]]
    more = [f"and {len(containers) - _SHOWN} more"] if len(containers) > _SHOWN else []
    return list_fields("containers", [*shown, *more])


def _line(container: Document) -> str:
    root = f" in {container['root']}" if container["root"] else ""
    text = f"{container['id']}{root}"
    if not container["outdated"]:
        return text
    number = container["generation"]
    owner = "an earlier generation" if number is None else f"generation {number}"
    return f"{text} keeps {container['binary']} of {owner}"


def _id(container: Document, terminal: Terminal) -> str:
    name = str(container["id"])
    return name[:_SHORT_DIGITS] if terminal.columns is not None and _LONG_ID.fullmatch(name) else name


def _generation(container: Document) -> str:
    return "unknown" if container["generation"] is None else str(container["generation"])
