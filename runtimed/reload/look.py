"""Adds to a report the unusable runtimes of a generation, and the older definitions that containers keep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from runtimed.core.containers import Kept
from runtimed.core.report import Report
from runtimed.core.table.availability import Unavailable
from runtimed.core.table.generation import Generation

log = structlog.get_logger()

T = TypeVar("T")

# Time that a report waits for a look at the node. The reload itself is done by then.
LOOK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks at the node for a report: each function returns what it finds, compared with a generation."""

    find_unavailable: Callable[[Generation], Awaitable[tuple[Unavailable, ...]]]
    find_kept: Callable[[Generation], Awaitable[tuple[Kept, ...]]]

    async def add_to(self, report: Report, generation: Generation) -> Report:
        """Return ``report`` with the findings for ``generation``, unless it is a rejection."""
        if report.outcome == "rejected":
            return report
        unavailable, kept = await asyncio.gather(
            _find("runtimes", self.find_unavailable, generation), _find("containers", self.find_kept, generation)
        )
        return replace(report, unavailable=unavailable, kept=kept, runtimes=len(generation.runtimes))


async def _find(
    subject: str, find: Callable[[Generation], Awaitable[tuple[T, ...]]], generation: Generation
) -> tuple[T, ...]:
    """Return the result of ``find``; nothing, with a line in the log, if it fails or takes too long."""
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            return await find(generation)
    except TimeoutError:
        log.warning("reload.look_timed_out", subject=subject, timeout_s=LOOK_TIMEOUT_S)
    except Exception:
        log.exception("reload.look_failed", subject=subject)
    return ()
