"""Renders the history of the table, and the triggers of generations, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from runtimed.cli.humanize import local_time, trigger, with_detail
from runtimed.cli.render import render_problem
from runtimed.cli.tables import Document, render_line
from runtimed.cli.terminal import PLAIN, RED, YELLOW, Terminal
from runtimed.cli.watch import render_event

_NAMED = 5
# Characters of a command or a path in the list of generations.
_SHORT = 40
_CHANGES = ("added", "changed", "removed")


def render_history(document: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return the lines of each entry, the oldest first; the lines of its trigger are indented."""
    lines = ["earlier entries are left out; --since LATER shows fewer"] if document["truncated"] else []
    for entry in document["entries"]:
        kind = entry["type"]
        if kind in ("generation", "reload"):
            text, colour = _TEXTS[kind](entry)
            lines.append(render_line(f"{local_time(entry['time'])}  {kind:<10}  {text}", colour, terminal))
            lines += [render_line(f"    {detail}", None, terminal) for detail in _details(entry)]
        elif (line := render_event(entry, terminal)) is not None:
            lines.append(line)
    return lines or ["the history is empty"]


def short_trigger(found: Document | None) -> str:
    """Return the reason of a trigger, and its first actor or the first file that changed."""
    if found is None:
        return "unknown"
    named = [f"{user(each['uid'])}, {_command(each)}" for each in found["actors"]]
    more = found["actor_count"] - 1
    if not named:
        named = [_short_source(each) for each in found["sources"]]
        more = found["source_count"] - 1
    others = [f"and {more} more"] if more > 0 else []
    return with_detail(_reason(found), " ".join((*named[:1], *others)))


def user(uid: int) -> str:
    """Return the name of a user on this machine, or the id."""
    import pwd  # noqa: PLC0415 - only few verbs need it

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"user id {uid}"


def _command(actor: Document) -> str:
    return f"process {actor['pid']}" if actor["command"] is None else _cut(actor["command"])


def _reason(found: Document) -> str:
    return ", ".join(map(trigger, found["reason"].split(", ")))


def _user_and_id(uid: int) -> str:
    name, number = user(uid), f"user id {uid}"
    return number if name == number else f"{name} ({number})"


def _short_source(source: Document) -> str:
    name = _cut(source["path"].rpartition("/")[2])
    return name if source["owner"] is None else f"{name}, owner {user(source['owner'])}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


def _generation(entry: Document) -> tuple[str, int | None]:
    number, changes = entry["generation"], entry["changes"]
    if changes is None:
        return f"{number} is current; an earlier version of runtimed made it and kept no trigger", None
    parts = [_names(changes, key) for key in _CHANGES if changes[f"{key}_count"]]
    if default := changes["default_runtime"]:
        parts.append(f"default runtime {default['from']} -> {default['to']}")
    return f"{number} is current: {'; '.join(parts) or 'no runtime differs from the generation before'}", None


def _names(changes: Document, key: str) -> str:
    names, count = changes[key][:_NAMED], changes[f"{key}_count"]
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return f"{key} {', '.join(names)}{more}"


def _reload(entry: Document) -> tuple[str, int | None]:
    number = entry["generation"]
    if entry["outcome"] == "rejected":
        first = render_problem(entry["problems"][0]) if entry["problems"] else "unknown problem"
        more = f" (and {entry['problem_count'] - 1} more)" if entry["problem_count"] > 1 else ""
        begin = "the daemon started with a configuration that was" if entry["reason"] == "start" else "the change was"
        if entry["cause"] == "store":
            begin = "the change could not be stored and was"
        return f"{begin} rejected, generation {number} is in use: {first}{more}", RED
    if entry["reason"] == "start":
        return with_detail(f"the daemon started, generation {number} is current", "; ".join(entry["repaired"])), None
    return f"published files were repaired: {'; '.join(entry['repaired'])}", YELLOW


def _details(entry: Document) -> Iterator[str]:
    """Yield a line for the reason of an entry, each actor and each changed file, where there are some."""
    found = entry["trigger"]
    if found is None or (entry["type"] == "reload" and entry["outcome"] != "rejected"):
        return
    reasons = found["reason"].split(", ")
    yield f"reason: {', '.join(_REASONS.get(each, each) for each in reasons)}"
    for actor in found["actors"]:
        command = actor["command"] or "its command is not known"
        yield f"requested by {_user_and_id(actor['uid'])}, process {actor['pid']}: {command}"
    if more := found["actor_count"] - len(found["actors"]):
        yield f"and {more} other requests"
    for source in found["sources"]:
        yield f"{source['path']} was {source['change']}{_status(source)}"
    if more := found["source_count"] - len(found["sources"]):
        yield f"and {more} other files"


def _status(source: Document) -> str:
    owner = source["owner"]
    if owner is None:
        return ""
    written = local_time(source["mtime"])
    return f"; owner {_user_and_id(owner)}, modified {written}, inode {source['inode']}"


_TEXTS = {"generation": _generation, "reload": _reload}
_REASONS = {
    "signal": "SIGHUP (a signal does not tell its sender)",
    "start": "start of the daemon",
    "retry": "another attempt after the disk had refused the change",
    "repair": "repair of published files",
    "api": "API request",
    "file-change": "file change",
}
