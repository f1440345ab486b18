"""Reads the files, runs the programs and finds the process of an engine on this node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, partial

from runtimed.core.engines.engine import Document, Engine, ExportOptions, Found, NotInstalled, Plan, Run, Table, Writing
from runtimed.core.errors import ConfigurationRejected, PathMissing, Problem
from runtimed.host.engines.files import SCRATCH, read_inputs
from runtimed.host.engines.processes import EngineProcess, command_line, find_process
from runtimed.host.engines.programs import Outcome, output_of, run_program
from runtimed.host.features.command import run_command
from runtimed.host.trust import Trust, secure_directory, walk


class EngineNode:
    """An engine on this node, with the files and processes that this user may read. ``name`` is that of ``engine``."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.engine = engine
        self._trust = Trust.of_process()
        self._planned_from: Mapping[str, bytes] = {}

    @property
    def writing(self) -> Writing:
        """How to write the engine's file. Raises: ConfigurationRejected: the engine has none."""
        if self.engine.writing is None:
            raise ConfigurationRejected((Problem(f"{self.name} reads no file on this node"),))
        return self.engine.writing

    @cached_property
    def directory(self) -> str:
        """The real path of the engine's directory. Raises: NotInstalled, PathRefused."""
        path = self.writing.directory
        try:
            return secure_directory(path, self._trust, create=False)
        except PathMissing as error:
            text = f"does not exist, so {self.name} is not installed on this node; if it is, run: mkdir -p {path}"
            raise NotInstalled((Problem(text, error.path),)) from error

    def secure(self, directory: str) -> str:
        """Return the real path of the directory of a file, which is made if it is missing. Raises: PathRefused."""
        return secure_directory(directory, self._trust)

    def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """Return the content of each of ``paths`` that exists."""
        return read_inputs(paths, partial(walk, trust=self._trust))

    def run(self, run: Run) -> Outcome | None:
        """Return the outcome of ``run``, None if there is no such program."""
        return run_program(run, run_command)

    def output(self, run: Run) -> bytes:
        """Return the output of ``run``. Raises: NoAnswer: it fails, or there is no such program."""
        return output_of(run, self.run(run))

    def find_process(self, document: Document) -> EngineProcess | None:
        """Return the engine's process, None if it does not run or has no daemon; ``document`` is as for `Asking`."""
        asking = self.engine.asking
        if asking is None or asking.process is None:
            return None
        sockets = [getattr(question, "socket", None) for question in asking.questions(document).values()]
        return find_process(asking.process, [path for path in sockets if path is not None])

    def plan(self, table: Table, options: ExportOptions) -> Plan:
        """Return how to write the files."""
        version = None
        if (run := self.writing.version) is not None and (outcome := self.run(run)) is not None:
            version = output_of(run, outcome).decode(errors="replace")
        process = self.find_process(self.engine.write(table, options).document)
        words = () if process is None else command_line(process)
        self._planned_from = self.read(self.writing.inputs)
        found = Found(self._planned_from, version, f"{self.directory}/{SCRATCH}", words)
        return self.writing.plan(table, options, found)

    def require_unchanged(self) -> None:
        """Check that the files of the last plan are as they were, because a check takes seconds.

        Raises:
            ConfigurationRejected: another program has changed one, and its change would be lost.
        """
        now, then = self.read(self.writing.inputs), self._planned_from
        changed = [path for path in {**then, **now} if now.get(path) != then.get(path)]
        if changed:
            text = "was changed by another program while the new file was checked; try again"
            raise ConfigurationRejected(tuple(Problem(text, path) for path in changed))
