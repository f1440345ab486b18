"""All that a daemon can be asked: what is sent for each question, and what is a no. A coroutine each."""

from __future__ import annotations

import time

from runtimed.client.conversation import Conversation
from runtimed.client.errors import refuse
from runtimed.client.wire import quote, render_target

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from socket import socket as socket_type
    from typing import Any

    from runtimed.client.events import Watching
    from runtimed.core.shapes.daemon import Collection, Health, Report, Status
    from runtimed.core.shapes.runtimes import (
        GenerationDetail,
        Generations,
        GenerationsDiff,
        Resolution,
        RuntimeDescription,
        RuntimeTable,
    )

_OK = 200
_DRY_RUN = {"dry_run": "true"}


class Questions(Conversation):
    """The questions, with the names, parameters and answers that `runtimed.client.Client` says more about."""

    async def resolve(self, runtime: str = "", generation: int | None = None, digest: str | None = None) -> Resolution:
        """Return what ``runtime`` means, in one ``generation`` if that is given; empty: the default."""
        pinned = {"generation": generation, "digest": digest}
        query = {key: str(value) for key, value in pinned.items() if value is not None}
        target = render_target("/v1/resolve", {"runtime": runtime, **query} if runtime else query)
        found: Resolution = await self._told("GET", target)
        return found

    async def runtimes(self) -> RuntimeTable:
        """Return the whole table, sorted by name, under ``runtimes``."""
        found: RuntimeTable = await self._told("GET", "/v1/runtimes")
        return found

    async def explain(self, runtime: str) -> RuntimeDescription:
        """Return what is known of one runtime: definition, origin, options, whether it is available."""
        found: RuntimeDescription = await self._told("GET", f"/v1/runtimes/{quote(runtime)}")
        return found

    async def status(self) -> Status:
        """Return how the daemon is, health first."""
        found: Status = await self._told("GET", "/v1/status")
        return found

    async def healthz(self) -> Health:
        """Return ``{"status": "ok"}``; the alternative is raised."""
        found: Health = await self._told("GET", "/healthz")
        return found

    async def generations(self) -> Generations:
        """Return the retained generations, the newest first, under ``generations``."""
        found: Generations = await self._told("GET", "/v1/generations")
        return found

    async def generation(self, number: int) -> GenerationDetail:
        """Return all of one generation: its merged configuration, and every answer that was given in it."""
        found: GenerationDetail = await self._told("GET", f"/v1/generations/{number}")
        return found

    async def diff(self, old: int, new: int) -> GenerationsDiff:
        """Return what differs in generation ``new`` from ``old``."""
        target = render_target("/v1/diff", {"from": str(old), "to": str(new)})
        found: GenerationsDiff = await self._told("GET", target)
        return found

    async def reload(self, *, dry_run: bool = False) -> Report:
        """Return the report of a reload, or of what one would do; its ``outcome`` may be ``rejected``."""
        target = render_target("/v1/reload", _DRY_RUN if dry_run else {})
        report: Report = await self._told("POST", target, also="outcome")
        return report

    async def gc(self, *, dry_run: bool = False) -> Collection:
        """Return the verdict on every wrapper; remove those that may go unless it is a ``dry_run``."""
        found: Collection = await self._told("POST", render_target("/v1/gc", _DRY_RUN if dry_run else {}))
        return found

    def watching(self, since: int | None, patience_s: float) -> Watching:
        """Return what reads the events, from the one after number ``since`` on, or from now on."""
        from runtimed.client.events import Watching  # noqa: PLC0415 - of use to few programs

        def connect() -> Coroutine[Any, Any, socket_type]:
            return self._connect(time.monotonic() + self.timeout_s, 0.0)

        return Watching(connect, self._waits, lambda: self.socket, since, patience_s)

    async def _told(self, method: str, target: str, *, also: str | None = None) -> Any:
        """Return the answer, whose shape is the daemon's promise, or raise its no; with ``also`` in it, it is none."""
        status, document = await self._ask(method, target)
        if status != _OK and also not in document:
            refuse(status, document)
        return document
