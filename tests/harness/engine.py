"""A small engine for tests that hold for every engine: a drop-in, a program with a version and a check, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.daemon import put_executable

from runtimed.cli.engine_node import EngineNode
from runtimed.core.engines.engine import (
    Asking,
    Document,
    Engine,
    ExportOptions,
    FileWrite,
    Found,
    Plan,
    Run,
    Table,
    TakesEffect,
    View,
    Writing,
)
from runtimed.core.engines.ownership import owned_write
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import ConfigurationRejected, Problem

# Refuses a file with the word "refused"; prints the drop-ins that it reads.
PROGRAM = """#!/bin/sh
case $1 in
  version) echo 1.2 ;;
  check) if grep -q refused "$2"; then echo "$2 has a refused word" >&2; exit 1; fi; cat "$2" ;;
  show) cat {directory}/conf.d/* 2>/dev/null || echo default none ;;
esac
"""
TABLE: Table = {
    "default_runtime": "crun",
    "generation": 7,
    "runtimes": [{"name": "crun", "stable_path": "/var/lib/runtimed/runtimes/crun"}],
}


@dataclass
class SmallEngine:
    """An engine with its program and its configuration below ``root``."""

    root: Path
    process: str | None = None
    takes_effect: TakesEffect = "at once"
    unknown: str | None = None
    # A second file, which is written first.
    record: bool = False
    # A runtime that this version cannot have.
    without: str | None = None
    # The number of runtimes that it is not asked for.
    unasked: int = 0

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        put_executable(self.program, PROGRAM.format(directory=self.directory))

    @property
    def directory(self) -> Path:
        return self.root / "etc"

    @property
    def file(self) -> Path:
        return self.directory / "conf.d" / "50-runtimed.conf"

    @property
    def program(self) -> Path:
        return self.root / "bin" / "engine"

    def engine(self) -> Engine:
        asking = Asking(
            questions=lambda _: {"shown": Run((str(self.program), "show"))},
            expected=lambda document: replace(self._view(render(document)), unasked=self.unasked),
            answered=lambda answers: self._view(answers["shown"].decode()),
            process=self.process,
            takes_effect=self.takes_effect,
        )
        return Engine(write=self._write, render=render, writing=self.writing(), asking=asking)

    def node(self) -> EngineNode:
        return EngineNode("small", self.engine())

    def writing(self) -> Writing:
        inputs = (str(self.file), f"{self.directory}/main.conf")
        return Writing(path=str(self.file), inputs=inputs, version=Run((str(self.program), "version")), plan=self._plan)

    def _write(self, table: Table, _options: ExportOptions) -> Translation:
        document: dict[str, object] = {each["name"]: each["stable_path"] for each in table["runtimes"]}
        return Translation({"default": table["default_runtime"], **document}, (Problem("a remark"),))

    def _plan(self, table: Table, options: ExportOptions, found: Found) -> Plan:
        translation = self._write(table, options)
        document = {name: path for name, path in translation.document.items() if name != self.without}
        text = render(document)
        write = owned_write(str(self.file), text, found)
        record = (FileWrite(f"{self.directory}/.record", text.encode()),) if self.record else ()
        scratch = {"50-runtimed.conf": text.encode()}
        if b"closed" in found.files.get(f"{self.directory}/main.conf", b""):
            problem = Problem("is closed", f"{self.directory}/main.conf", 3)
            raise ConfigurationRejected((problem,), 2, remarks=translation.remarks)
        checks = (Run((str(self.program), "check", f"{found.scratch}/50-runtimed.conf")),) if found.version else ()
        if "--closed" in found.command_line:
            raise ConfigurationRejected((Problem(f"is closed by {found.command_line[-1]}"),))
        remarks = (*translation.remarks, Problem(f"version {(found.version or 'none').strip()}"))
        return Plan((*record, write), remarks, scratch, checks, self.unknown, self._judge, document)

    def _judge(self, answers: Sequence[bytes]) -> Sequence[Problem]:
        found = [answer for answer in answers if b"judged" in answer]
        return [Problem("has a word that is judged", str(self.file), 2) for _ in found]

    def _view(self, text: str) -> View:
        if "garbage" in text:
            raise ValueError(f"garbage in {len(text)} characters")
        lines: Mapping[str, str] = dict(
            line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")
        )
        return View(lines["default"], {name: path for name, path in lines.items() if name != "default"})


def render(document: Document) -> str:
    return "".join(f"{name} {path}\n" for name, path in document.items())
