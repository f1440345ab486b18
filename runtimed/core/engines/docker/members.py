"""Sets and removes members of an object in a JSON text, and keeps all other characters as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from runtimed.core.configuration.scan import Scan, split_offsets

_FIRST_LINE = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*\n([ \t]+)"')
_INDENT = "  "
_NULL = "null"


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of an object as text: ``lead`` goes up to the key, ``head`` is the key with its colon."""

    name: str
    lead: str
    head: str
    value: str


@dataclass(frozen=True, slots=True)
class _Object:
    """An object in a text, or the null in its place, from ``start`` to ``end``; ``tail`` leads to its end."""

    start: int
    end: int
    members: tuple[_Member, ...]
    tail: str


def set_members(text: str, at: Sequence[str], values: Mapping[str, object], removed: Collection[str] = ()) -> str:
    """Return ``text``, a JSON document, in which the object at ``at`` has ``values`` and none of ``removed``.

    A null at ``at`` becomes an object. An inserted member is formatted like its neighbours, and its removal
    restores the text byte for byte. ``text`` has been parsed before, by `parse_document`.
    """
    if not values and not removed:
        return text
    found = _find(text, at)
    first, tail = _margins(text, found)
    kept = [member for member in found.members if member.name not in removed]
    parts: list[str] = []
    for member in kept:
        replaced = member.name in values
        new = _render(text, member.lead, values[member.name]) if replaced else member.value
        parts += [member.lead if parts else first, member.head, new]
    next_lead = _next_lead(found.members, first)
    names = {member.name for member in kept}
    for name, value in values.items():
        if name not in names:
            lead = f",{next_lead}" if parts else first
            parts += [lead, f"{json.dumps(name)}: ", _render(text, lead, value)]
    if not parts and first != tail:
        tail = ""
    return f"{text[: found.start]}{{{''.join(parts)}{tail}}}{text[found.end :]}"


def _find(text: str, at: Sequence[str]) -> _Object:
    scan = Scan("", text)
    scan.run()
    start, members_at = scan.root, _offsets(scan, scan.root)
    for key in at:
        start = split_offsets(members_at[key])[1]
        members_at = _offsets(scan, start)
    if text.startswith(_NULL, start):
        return _Object(start, start + len(_NULL), (), "")
    members: list[_Member] = []
    position = start + 1
    decoder = json.JSONDecoder()
    for name, offsets in members_at.items():
        key_offset, offset = split_offsets(offsets)
        end = decoder.raw_decode(text, offset)[1]
        members.append(_Member(name, text[position:key_offset], text[key_offset:offset], text[offset:end]))
        position = end
    close = text.index("}", position)
    return _Object(start, close + 1, tuple(members), text[position:close])


def _offsets(scan: Scan, start: int) -> Mapping[str, int]:
    table = scan.tables.get(start)
    return table if isinstance(table, dict) else {}


def _margins(text: str, found: _Object) -> tuple[str, str]:
    """Return the text before the first member and the text after the last one."""
    if found.members:
        return found.members[0].lead, found.tail
    before = text[: found.start]
    one_line = bool(before.strip()) and "\n" not in before.lstrip()
    # Blanks of an empty object are kept on both sides, so that a removal finds them again.
    if found.tail or one_line:
        return found.tail, found.tail
    line = before.rpartition("\n")[2]
    margin = _newline(text) + line[: len(line) - len(line.lstrip())]
    return margin + _indent(text), margin


def _next_lead(members: tuple[_Member, ...], first: str) -> str:
    """Return the text between a comma and the next member."""
    if len(members) > 1:
        return members[-1].lead.partition(",")[2]
    return first if "\n" in first else " "


def _render(text: str, lead: str, value: object) -> str:
    """Return ``value`` as JSON in ASCII, over several lines if ``lead``, which leads to its key, begins a line."""
    if "\n" not in lead:
        return json.dumps(value)
    margin = _newline(text) + lead.rpartition("\n")[2]
    return json.dumps(value, indent=_indent(text)).replace("\n", margin)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent(text: str) -> str:
    """Return the indentation of one level."""
    match = _FIRST_LINE.match(text)
    return match[1] if match is not None else _INDENT
