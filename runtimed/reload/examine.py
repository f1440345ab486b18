"""Plans the generation of documents in a worker thread; an error in the plan is a rejection of the documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from runtimed.core.config import Config
from runtimed.core.configuration.inputs import Documents
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.history.trigger import Trigger
from runtimed.core.plan import BootContext, Plan
from runtimed.core.table.generation import Generation

log = structlog.get_logger()


class Examiner:
    """Examines documents with ``planner`` in the thread in which ``run_blocking`` calls a function."""

    def __init__(
        self, context: BootContext, planner: Callable[..., Plan], run_blocking: Callable[..., Awaitable[Any]]
    ) -> None:
        self._context = context
        self._planner = planner
        self._run_blocking = run_blocking
        # The files that the current generation, or the last good one at a start, came from, with their checksums; and
        # its number.
        self.sources: Mapping[str, str] = {}
        self.number = 0

    async def examine(
        self, documents: Documents, next_number: int, previous: Generation | None, parsed: Config | None
    ) -> Plan | ConfigurationRejected:
        """Return the plan of ``documents`` as generation ``next_number``, or their rejection."""
        required = self._context.requires_main(self.sources, self.number)
        try:
            planned: Plan = await self._run_blocking(
                self._planner, documents, self._context, next_number, previous, required, parsed
            )
        except ConfigurationRejected as rejection:
            return rejection
        except Exception as error:  # noqa: BLE001 - a file that breaks the planner must not end the daemon
            return ConfigurationRejected((internal_error(error),))
        return planned

    async def compare(self, trigger: Trigger, documents: Documents) -> Trigger:
        """Return ``trigger`` with the files of ``documents`` that differ from those of the current generation."""
        compared: Trigger = await self._run_blocking(trigger.with_sources, self.sources, documents)
        return compared


def internal_error(error: Exception) -> Problem:
    """Return the problem of an error in the program, which is logged in full."""
    log.error("reload.failed", exc_info=error)
    return Problem(f"an error in runtimed itself, which its log shows in full: {error!r}; please report it")
