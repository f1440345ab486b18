"""Provides the client whose methods block."""

from __future__ import annotations

import time

from runtimed.client.requests import Requests

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from socket import socket as socket_type
    from typing import Any, TypeVar

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
    from runtimed.core.shapes.events import Event
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

_RECEIVE_BYTES = 256 * 1024


class Client:
    """A client of the daemon on ``socket`` (a path, also ``unix://PATH``; by default see `default_socket`).

    Every request makes a new connection and takes at most ``timeout_s`` seconds. So threads may share a client, and it
    need not be closed. A GET whose connection ends before its response is sent again once, because the daemon may have
    been restarted. All methods raise `ClientError`; the errors for the daemon's problem codes are `Refused`.

    >>> client = Client(timeout_s=5)
    >>> client.resolve("gvisor")["shim"]
    'io.containerd.runc.v2'
    >>> try:
    ...     client.resolve("gvisr")
    ... except UnknownRuntime as error:
    ...     print(error.nearest)
    gvisor
    """

    def __init__(self, socket: str | None = None, timeout_s: float = 10.0) -> None:
        self._requests = Requests(socket, timeout_s, BlockingBackend())

    @property
    def socket(self) -> str:
        """Path of the daemon's socket."""
        return self._requests.socket

    @property
    def timeout_s(self) -> float:
        """Seconds that one request may take in all."""
        return self._requests.timeout_s

    @timeout_s.setter
    def timeout_s(self, timeout_s: float) -> None:
        self._requests.timeout_s = timeout_s

    def resolve(self, runtime: str = "", generation: int | None = None, digest: str | None = None) -> Resolution:
        """Return the resolution of ``runtime`` (empty: the default): shim, options and generation.

        With a ``generation``, return the resolution in that generation, even if the runtime has changed or is gone.
        With a ``digest`` as well, raise DigestMismatch unless the resolution has it.

        Where no daemon responds, return it from the daemon's table file (table.json beside the socket) with the key
        ``from``, whose value is "file". The file must belong to root or to this user, and no other user may write it.

        >>> found = Client().resolve("gvisor")
        >>> found["source"], found["shim"], found["generation"]
        ('configured', 'io.containerd.runc.v2', 1)
        >>> Client().resolve("gvisor", found["generation"], found["digest"]) == found
        True

        Raises: UnknownRuntime, InvalidRuntimeName, RuntimeUnavailable; with a ``generation`` also NoSuchGeneration,
            GenerationGone, DigestMismatch, DamagedManifest, StoreFailed, DiskTimeout.
        """
        return _run(self._requests.resolve(runtime, generation, digest))

    def runtimes(self) -> RuntimeTable:
        """Return the whole table, sorted by name, under ``runtimes``.

        >>> [runtime["name"] for runtime in Client().runtimes()["runtimes"]]
        ['crun', 'gvisor', 'io.containerd.runc.v2', 'kata', 'nvidia', 'runc']

        Raises: DiskTimeout.
        """
        return _run(self._requests.runtimes())

    def explain(self, runtime: str) -> RuntimeDescription:
        """Return one runtime's definition, origin, options and whether it is available.

        >>> runtime = Client().explain("gvisor")
        >>> runtime["source"], runtime["origin"]["line"], runtime["available"]
        ('configured', 7, True)

        Raises: UnknownRuntime, InvalidRuntimeName, DiskTimeout.
        """
        return _run(self._requests.explain(runtime))

    def containers(self) -> Containers:
        """Return the containers that were started through stable paths, sorted by runtime, under ``containers``.

        >>> [each["id"] for each in Client().containers()["containers"] if each["outdated"]]
        []

        Raises: DiskTimeout.
        """
        return _run(self._requests.containers())

    def status(self) -> Status:
        """Return the daemon's status, health first.

        >>> Client().status()["default_runtime"]
        'crun'
        """
        return _run(self._requests.status())

    def healthz(self) -> Health:
        """Return that the daemon's process is healthy: its event loop, its watcher, its store.

        >>> Client().healthz()
        {'status': 'ok'}

        Raises: Unhealthy.
        """
        return _run(self._requests.healthz())

    def generations(self) -> Generations:
        """Return the retained generations under ``generations``; the first is the current one.

        >>> [each["generation"] for each in Client().generations()["generations"]]
        [1]
        """
        return _run(self._requests.generations())

    def generation(self, number: int) -> GenerationDetail:
        """Return one generation's merged configuration and all its resolutions.

        >>> Client().generation(1)["runtimes"]["kata"]["shim"]
        'io.containerd.kata.v2'

        Raises: NoSuchGeneration, GenerationGone, DamagedManifest, StoreFailed, DiskTimeout.
        """
        return _run(self._requests.generation(number))

    def history(self, since: float | None = None) -> History:
        """Return the generations and events from ``since`` on (seconds since the epoch) under ``entries``.

        >>> [entry["trigger"]["reason"] for entry in Client().history()["entries"] if entry["type"] == "generation"]
        ['start']
        """
        return _run(self._requests.history(since))

    def diff(self, old: int, new: int) -> GenerationsDiff:
        """Return the runtimes that differ in generation ``new`` from ``old``, with both definitions.

        >>> Client().diff(1, 1)["changed"]
        []

        Raises: NoSuchGeneration, GenerationGone, DamagedManifest, StoreFailed, DiskTimeout.
        """
        return _run(self._requests.diff(old, new))

    def reload(self, *, dry_run: bool = False) -> Report:
        """Return the report of a reload or its dry run; its ``outcome`` may be ``rejected``.

        >>> Client().reload(dry_run=True)["outcome"]
        'unchanged'

        Raises: Forbidden.
        """
        return _run(self._requests.reload(dry_run=dry_run))

    def gc(self, *, dry_run: bool = False) -> Collection:
        """Return the verdict on every wrapper with its reason; remove unreferenced ones unless it is a ``dry_run``.

        >>> {wrapper["verdict"] for wrapper in Client().gc(dry_run=True)["wrappers"]}
        {'keep'}

        Raises: Forbidden, StoreFailed, DiskTimeout.
        """
        return _run(self._requests.gc(dry_run=dry_run))

    def record_verification(self, engine: str, state: EngineState, detail: str = "") -> EngineStatus:
        """Record the outcome of an engine's verification, which the status, events and metrics show; return it.

        >>> Client().record_verification("docker", "follows")["state"]
        'follows'

        Raises: Forbidden.
        """
        return _run(self._requests.record_verification(engine, state, detail))

    def metrics(self) -> str:
        """Return the metrics in the text format of Prometheus.

        >>> Client().metrics().splitlines()[2].partition("{")[0]
        'runtimed_build_info'

        Raises: DiskTimeout.
        """
        return _run(self._requests.metrics())

    def record_proof(
        self,
        runtime: str,
        *,
        outcome: ProofOutcome,
        engine: ProofEngine,
        digest: str,
        identity: str,
        detail: str = "",
    ) -> RecordedProof:
        """Record the outcome of a test of ``runtime``, which had this ``digest`` and ``identity``; return the proof.

        >>> tested = Client().explain("kata")
        >>> test = {"digest": tested["digest"], "identity": tested["identity"]}
        >>> Client().record_proof("kata", outcome="passed", engine="direct", **test)["state"]
        'proved'

        Raises: UnknownRuntime, InvalidRuntimeName, ProofOutdated, Forbidden, StoreFailed, DiskTimeout.
        """
        proof = self._requests.record_proof(
            runtime, outcome=outcome, engine=engine, digest=digest, identity=identity, detail=detail
        )
        return _run(proof)

    def watch(self, since: int | None = None, *, patience_s: float = 60.0) -> Generator[Event, None, None]:
        """Yield the daemon's events after number ``since``, or from now on, without end.

        A heartbeat is yielded every 15 s. When the connection ends, because the daemon is restarted, say, a new one
        continues after the last event. An event of type ``gap`` means that some were lost.

        >>> client = Client()
        >>> seq = client.status()["events"]["seq"]
        >>> _ = client.reload()
        >>> for event in client.watch(since=seq):
        ...     if event["type"] == "reload":
        ...         print(event["outcome"])
        ...         break
        unchanged

        Raises: DaemonUnreachable if there is no daemon at first, or for ``patience_s`` seconds later on.
        """
        stream = self._requests.event_stream(since, patience_s)
        try:
            while True:
                yield _run(stream.next())
        finally:
            stream.close()


class BlockingBackend:
    """A `runtimed.client.transport.Backend` that blocks the thread."""

    async def send(self, sock: socket_type, data: bytes, timeout_s: float) -> None:
        """Send all of ``data``."""
        sock.settimeout(timeout_s)
        sock.sendall(data)

    async def receive(self, sock: socket_type, timeout_s: float) -> bytes:
        """Return the next bytes."""
        sock.settimeout(timeout_s)
        return sock.recv(_RECEIVE_BYTES)

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return the result of ``function``, which reads files."""
        return function(*args)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251 - there is no loop


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``coroutine``. It awaits only `BlockingBackend`, so it never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a coroutine was suspended without an event loop")
