"""Plans how to merge the table into /etc/docker/daemon.json, which has no drop-ins.

Only the entries that runtimectl has written, by its record, are changed or removed. dockerd applies at a reload only
the keys that the file has: so ``runtimes`` stays when the last runtime is removed, and the default runtime becomes runc
instead of missing. With a default runtime that it does not know, dockerd 20.10 exits at a reload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runtimed.core.configuration.document import Document, encoding_of, parse_document
from runtimed.core.configuration.inputs import Source
from runtimed.core.configuration.position import Pointer
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.engines.command_line import remarks_on_file
from runtimed.core.engines.docker.members import set_members
from runtimed.core.engines.docker.record import Record, read_record, same
from runtimed.core.engines.docker.version import parse_version
from runtimed.core.engines.docker.write import write_docker
from runtimed.core.engines.engine import ExportOptions, FileWrite, Found, Plan, Run, Table, Writing
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called

FILE = "/etc/docker/daemon.json"
RECORD = "/etc/docker/.runtimed.json"
_DEFAULT = "default-runtime"
# dockerd has --validate since 23.0.
_UNKNOWN = "unknown flag: --validate"
_SCRATCH = "daemon.json"
_EMPTY = b"{}\n"
# Characters of a value in a message.
_VALUE_MAX = 200


def _plan(table: Table, _: ExportOptions, found: Found) -> Plan:
    """Return the plan that merges ``table`` into daemon.json.

    The record gets the new values beside the old ones before daemon.json has them, and loses the old ones after that:
    wherever this is interrupted, the record has the values that are in daemon.json.

    Raises:
        ConfigurationRejected: daemon.json or the record cannot be read, or runtimectl did not write an entry that it
            would have to change, or dockerd runs with a flag that conflicts with the file.
    """
    data = found.files.get(FILE, _EMPTY)
    document = parse_document(Source(FILE, data))
    record = read_record(RECORD, found.files.get(RECORD))
    exported = write_docker(table, parse_version(found.version))
    merge = _Merge(document, record)
    merge.problems += _conflicts(found.command_line)
    merge.set_runtimes(exported.document["runtimes"])
    merge.set_default(exported.document.get(_DEFAULT))
    if merge.problems:
        raise ConfigurationRejected(tuple(merge.problems), remarks=exported.remarks)
    merged = merge.apply(data)
    both, final = record.union(merge.record), merge.record
    writes = [FileWrite(FILE, merged)]
    if both != record:
        writes.insert(0, FileWrite(RECORD, both.render()))
    if final != both:
        writes.append(FileWrite(RECORD, final.render()))
    remarks = (*exported.remarks, *remarks_on_file(found.command_line, ("--config-file",), FILE, FILE))
    if merged == found.files.get(FILE) or found.version is None:
        return Plan(tuple(writes), remarks, document=exported.document)
    check = Run(("dockerd", "--validate", "--config-file", f"{found.scratch}/{_SCRATCH}"))
    scratch = {_SCRATCH: merged}
    return Plan(tuple(writes), remarks, scratch, (check,), _UNKNOWN, document=exported.document)


def _conflicts(command_line: Sequence[str]) -> list[Problem]:
    """Return the problem that a running dockerd would have with the file at its next start."""
    flag = f"--{_DEFAULT}"
    if not any(word.partition("=")[0] == flag for word in command_line):
        return []
    text = f"dockerd runs with the flag {flag}, and would not start with a {_DEFAULT} in this file as well"
    return [Problem(f"{text}; remove the flag, from the unit of dockerd for example", FILE)]


class _Merge:
    """Collects the changes of a daemon.json, the record of runtimectl's entries after them, and problems."""

    def __init__(self, document: Document, old: Record) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._old = old
        # The entries to write, and the names to remove.
        self._values: dict[str, object] = {}
        self._removed: set[str] = set()
        self._default: dict[str, object] = {}
        self._runtimes: dict[str, tuple[object, ...]] = {}
        self._defaults: tuple[object, ...] = ()

    @property
    def record(self) -> Record:
        """The record of the entries that are runtimectl's in the merged file."""
        return Record(self._runtimes, self._defaults)

    def set_runtimes(self, wanted: Any) -> None:
        """Put ``wanted`` into the merged file, and remove all other runtimes that runtimectl has written."""
        value = self._document.value.get("runtimes")
        current: Mapping[str, object] = value if isinstance(value, dict) else {}
        if value is not None and not isinstance(value, dict):
            self.problems.append(self._document.location(("runtimes",)).mismatch(value, "an object"))
            return
        for name, entry in wanted.items():
            owned = name not in current or self._old.owns(name, current[name])
            if owned:
                self._runtimes[name] = (entry,)
            if name in current and same(current[name], entry):
                continue
            if owned:
                self._values[name] = entry
            else:
                self._refuse_entry(name, current[name])
        self._removed = {name for name, entry in current.items() if name not in wanted and self._old.owns(name, entry)}

    def set_default(self, wanted: object) -> None:
        """Make ``wanted`` the default runtime of the merged file; None if dockerd cannot have the table's."""
        current = self._document.value.get(_DEFAULT)
        owned = current is None or self._old.owns_default(current)
        if wanted is None:
            if isinstance(current, str) and current in self._removed and not owned:
                text = "names a runtime that the table no longer has, and dockerd would not start; remove or change it"
                self._refuse((_DEFAULT,), current, text)
            if current is None or not owned:
                return
            wanted = RUNC_NAME
        if owned:
            self._defaults = (wanted,)
        if same(current, wanted):
            return
        if owned:
            self._default = {_DEFAULT: wanted}
        else:
            self._refuse(
                (_DEFAULT,),
                current,
                f"runtimectl did not write this value, {_text(current)}, and the table's default runtime is "
                f"{called(str(wanted))}; remove it, or make it the default runtime of runtimed",
            )

    def apply(self, data: bytes) -> bytes:
        """Return ``data``, the file, with the changes."""
        mark, encoding = encoding_of(data)
        text = data[len(mark) :].decode(encoding)
        if self._values and self._document.value.get("runtimes") is None:
            text = set_members(text, (), {"runtimes": {}})
        text = set_members(text, ("runtimes",), self._values, self._removed)
        text = set_members(text, (), self._default)
        return mark + text.encode(encoding)

    def _refuse_entry(self, name: str, entry: object) -> None:
        self._refuse(
            ("runtimes", name),
            entry,
            f"runtimectl did not write this entry, {_text(entry)}, and the table has another runtime of this name; "
            f"remove it (`runtimectl import docker {FILE}` translates it for runtimed) or rename it",
        )

    def _refuse(self, at: Pointer, value: object, message: str) -> None:
        problem = self._document.key_location(at).problem(message, _text(value), "an entry that runtimectl wrote")
        self.problems.append(problem)


def _text(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"


WRITING = Writing(path=FILE, inputs=(FILE, RECORD), version=Run(("dockerd", "--version")), plan=_plan)
