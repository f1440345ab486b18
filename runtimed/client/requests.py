"""Defines the requests of the API, one coroutine each, for both clients."""

from __future__ import annotations

import time

from runtimed.client.errors import DaemonUnreachable, refuse
from runtimed.client.transport import Transport
from runtimed.client.wire import quote, read_document, render_target

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from socket import socket as socket_type
    from typing import TypeVar

    from runtimed.client.events import EventStream
    from runtimed.client.table_file import Resolution
    from runtimed.core.shapes.daemon import (
        Collection,
        Containers,
        EngineState,
        EngineStatus,
        Health,
        Report,
        Status,
    )
    from runtimed.core.shapes.history import History
    from runtimed.core.shapes.runtimes import (
        GenerationDetail,
        Generations,
        GenerationsDiff,
        ProofEngine,
        ProofOutcome,
        RecordedProof,
        RuntimeDescription,
        RuntimeTable,
    )

    T = TypeVar("T")

_OK = 200
_DRY_RUN = {"dry_run": "true"}


class Requests(Transport):
    """The requests; `runtimed.client.Client` documents their parameters and responses."""

    async def resolve(self, runtime: str = "", generation: int | None = None, digest: str | None = None) -> Resolution:
        """Return the resolution of ``runtime`` (empty: the default), in one ``generation`` if given.

        Where no daemon responds, it is that of the table file, if the file is trusted.
        """
        pinned = {"generation": generation, "digest": digest}
        query = {key: str(value) for key, value in pinned.items() if value is not None}
        try:
            return await self._get(render_target("/v1/resolve", {"runtime": runtime, **query} if runtime else query))
        except DaemonUnreachable as error:
            return await self._resolve_in_file(error, runtime, generation, digest)

    async def _resolve_in_file(
        self, error: DaemonUnreachable, runtime: str, generation: int | None, digest: str | None
    ) -> Resolution:
        """Return the resolution in the table file of the daemon that cannot be reached, or raise ``error``."""
        from runtimed.client.table_file import NotUsable, resolve_in_file  # noqa: PLC0415 - rarely needed

        # The file has the mode of the socket, and is no way around it.
        if isinstance(error.__cause__, PermissionError):
            raise error
        sockets = (self.socket, *self._alternatives)
        try:
            found = await self._backend.run(resolve_in_file, sockets, runtime, generation, digest)
        except NotUsable as reason:
            raise type(error)(error.socket, f"{error.reason}; {reason}", error.hint) from error
        if found is None:
            raise error
        return found

    async def runtimes(self) -> RuntimeTable:
        """Return the whole table, sorted by name, under ``runtimes``."""
        return await self._get("/v1/runtimes")

    async def explain(self, runtime: str) -> RuntimeDescription:
        """Return one runtime's definition, origin, options and whether it is available."""
        return await self._get(f"/v1/runtimes/{quote(runtime)}")

    async def containers(self) -> Containers:
        """Return the containers that have a pin, under ``containers``."""
        return await self._get("/v1/containers")

    async def status(self) -> Status:
        """Return the daemon's status, health first."""
        return await self._get("/v1/status")

    async def healthz(self) -> Health:
        """Return ``{"status": "ok"}``, or raise Unhealthy."""
        return await self._get("/healthz")

    async def generations(self) -> Generations:
        """Return the retained generations, the newest first, under ``generations``."""
        return await self._get("/v1/generations")

    async def generation(self, number: int) -> GenerationDetail:
        """Return one generation's merged configuration and all its resolutions."""
        return await self._get(f"/v1/generations/{number}")

    async def history(self, since: float | None = None) -> History:
        """Return the generations and their events from the time ``since`` on, under ``entries``."""
        return await self._get(render_target("/v1/history", {} if since is None else {"since": f"{since:.3f}"}))

    async def diff(self, old: int, new: int) -> GenerationsDiff:
        """Return the differences of generation ``new`` from ``old``."""
        return await self._get(render_target("/v1/diff", {"from": str(old), "to": str(new)}))

    async def reload(self, *, dry_run: bool = False) -> Report:
        """Return the report of a reload or its dry run; its ``outcome`` may be ``rejected``."""
        return await self._post("/v1/reload", _DRY_RUN if dry_run else {}, expected="outcome")

    async def gc(self, *, dry_run: bool = False) -> Collection:
        """Return the verdict on every wrapper; remove unreferenced ones unless it is a ``dry_run``."""
        return await self._post("/v1/gc", _DRY_RUN if dry_run else {})

    async def record_verification(self, engine: str, state: EngineState, detail: str = "") -> EngineStatus:
        """Return the outcome of an engine's verification with the time at which the daemon recorded it."""
        query = {"state": state, **({"detail": detail} if detail else {})}
        return await self._post(f"/v1/engines/{quote(engine)}", query)

    async def metrics(self) -> str:
        """Return the metrics in the text format of Prometheus."""
        status, body = await self._request_bytes("GET", "/metrics")
        if status != _OK:
            refuse(status, read_document(body, self.socket))
        return body.decode(errors="replace")

    async def record_proof(
        self,
        runtime: str,
        *,
        outcome: ProofOutcome,
        engine: ProofEngine,
        digest: str,
        identity: str,
        detail: str = "",
    ) -> RecordedProof:
        """Return the proof of ``runtime`` with the time at which the daemon recorded it."""
        query = {"outcome": outcome, "engine": engine, "digest": digest, "identity": identity}
        return await self._post(f"/v1/proofs/{quote(runtime)}", {**query, **({"detail": detail} if detail else {})})

    def event_stream(self, since: int | None, patience_s: float) -> EventStream:
        """Return the events after number ``since``, or from now on."""
        from runtimed.client.events import EventStream  # noqa: PLC0415 - few programs need it

        def connect() -> Coroutine[None, None, socket_type]:
            return self._connect(time.monotonic() + self.timeout_s, 0.0)

        return EventStream(connect, self._backend, lambda: self.socket, since, patience_s)

    # The daemon's promise about the shape of each response is the return type of the request.

    async def _get(self, target: str) -> T:
        status, document = await self._request("GET", target)
        if status != _OK:
            refuse(status, document)
        return document  # type: ignore[return-value]

    async def _post(self, path: str, query: Mapping[str, str], expected: str | None = None) -> T:
        """Return the response, also that of another status if it has the key ``expected``."""
        status, document = await self._request("POST", render_target(path, query))
        if status != _OK and expected not in document:
            refuse(status, document)
        return document  # type: ignore[return-value]
