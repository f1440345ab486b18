"""Reads the configuration files that the command line names; the daemon in a thread and within bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from runtimed.core.configuration.inputs import Documents
from runtimed.core.errors import Problem
from runtimed.daemon.announcer import Announcer
from runtimed.daemon.arguments import Arguments
from runtimed.host.files import MAX_BYTES, Snapshot, Walker, is_stream, read_documents, read_stream
from runtimed.host.trust import Trust, walk
from runtimed.host.watch import Watcher
from runtimed.host.worker import Worker

# A read that takes longer is a rejection: the file system of the files, NFS for example, hangs.
READ_TIMEOUT_S = 5.0
_NAMED = "file missing; the command line names it. Correct the name, or create it containing {}"


class ConfigurationReader:
    """Reads the documents that ``arguments`` name, and has ``watcher`` watch the directories on their paths.

    ``hint`` is called on the event loop when a read that had timed out ends, so that the files are read again.
    """

    def __init__(
        self, arguments: Arguments, trust: Trust, watcher: Watcher, announcer: Announcer, hint: Callable[[], None]
    ) -> None:
        self._arguments = arguments
        self._walk = partial(walk, trust=trust)
        self._watcher = watcher
        self._announcer = announcer
        self._hint = hint
        self._loop = asyncio.get_running_loop()
        # A thread for this alone: a file system that hangs must not delay anything else.
        self._worker = Worker("reading")
        self._timed_out = False

    async def read(self) -> Documents:
        """Return the documents at one instant; on an error, documents with that problem."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                documents = await self._worker.run(self._read)
                self._announcer.watching(self._watcher.faults)
                return documents
        except TimeoutError:
            self._timed_out = True
            problem = f"reading the configuration took longer than {READ_TIMEOUT_S:g} s; is its file system there?"
        except Exception as error:  # noqa: BLE001 - an error in reading is a rejection, and not the end of the daemon
            problem = f"an error in runtimed itself while reading: {error!r}; please report it"
        path = self._arguments.config_path
        return Documents(path, problems=(Problem(problem, path),))

    def close(self) -> None:
        """End the thread."""
        self._worker.close()

    def _read(self) -> Documents:
        snapshot = read_snapshot(self._arguments, self._walk)
        self._watcher.update(snapshot.watched_names)
        if self._timed_out:
            self._timed_out = False
            self._loop.call_soon_threadsafe(self._hint)
        return snapshot.documents


def main_required(arguments: Arguments) -> str | None:
    """Return why a missing main file is an error for this process; None where it means an empty table."""
    return _NAMED if arguments.config_explicit else None


def read_snapshot(arguments: Arguments, walk: Walker) -> Snapshot:
    """Return the documents that the command line names, at one instant. Blocks."""
    if not arguments.files:
        return read_documents(arguments.config_path, arguments.config_dir, walk)
    main, *others = (_read_named(file, walk, dropin=index > 0) for index, file in enumerate(arguments.files))
    problems = list(main.problems)
    for document in others:
        problems += document.problems
        if document.main is None and not document.problems:
            problems.append(Problem(_NAMED, document.main_path))
    dropins = tuple(document.main for document in others if document.main is not None)
    return Snapshot(replace(main, dropins=dropins, problems=tuple(problems)), frozenset())


def _read_named(path: str, walk: Walker, *, dropin: bool) -> Documents:
    if is_stream(path):
        return read_stream(path, MAX_BYTES)
    return read_documents(path, None, walk, dropin=dropin).documents
