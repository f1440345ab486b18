"""Reads the configuration files in a worker thread, within bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from runtimed.core.config import Documents
from runtimed.core.errors import Problem
from runtimed.daemon.announcer import Announcer
from runtimed.daemon.arguments import Arguments
from runtimed.daemon.startup import read_snapshot
from runtimed.host.trust import Trust, walk
from runtimed.host.watch import Watcher
from runtimed.host.worker import Worker

# A read that takes longer is a rejection: the file system of the files, NFS for example, hangs.
READ_TIMEOUT_S = 5.0


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
