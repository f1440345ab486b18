"""The client for programs that wait for an answer."""

from __future__ import annotations

import time

from runtimed.client.questions import Questions

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from socket import socket as socket_type
    from typing import Any, TypeVar

    from runtimed.core.shapes.daemon import Collection, Event, Health, Report, Status
    from runtimed.core.shapes.runtimes import (
        GenerationDetail,
        Generations,
        GenerationsDiff,
        Resolution,
        RuntimeDescription,
        RuntimeTable,
    )

    T = TypeVar("T")

_RECEIVE_BYTES = 256 * 1024


class Client:
    """Asks the daemon on ``socket`` (a path, also ``unix://PATH``; by default see `default_socket`).

    Every request has a connection of its own and ``timeout_s`` seconds for everything, so a client may be
    shared by threads, kept for as long as one likes, and needs no closing. A GET whose connection ends
    before its answer is asked once more: the daemon was restarted. All methods raise `ClientError`, of which those
    that the daemon's own codes stand for are `Refused`.

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
        self._questions = Questions(socket, timeout_s, Blocking())

    @property
    def socket(self) -> str:
        """Path of the socket that is asked."""
        return self._questions.socket

    @property
    def timeout_s(self) -> float:
        """How many seconds one request may take, all in all."""
        return self._questions.timeout_s

    @timeout_s.setter
    def timeout_s(self, timeout_s: float) -> None:
        self._questions.timeout_s = timeout_s

    def resolve(self, runtime: str = "", generation: int | None = None, digest: str | None = None) -> Resolution:
        """Return what ``runtime`` means: shim, options and the generation that says so. Empty: the default.

        With a ``generation``, what it meant there, also if it means something else by now or nothing; with a
        ``digest`` too, only the very answer that has it.

        >>> found = Client().resolve("gvisor")
        >>> found["source"], found["shim"], found["generation"]
        ('configured', 'io.containerd.runc.v2', 1)
        >>> Client().resolve("gvisor", found["generation"], found["digest"]) == found
        True

        Raises: UnknownRuntime, InvalidRuntimeName, RuntimeUnavailable; of a ``generation`` also NoSuchGeneration,
            GenerationGone, DigestMismatch, DamagedManifest, StoreFailed, DiskTimeout.
        """
        return _run(self._questions.resolve(runtime, generation, digest))

    def runtimes(self) -> RuntimeTable:
        """Return the whole table, sorted by name, under ``runtimes``.

        >>> [runtime["name"] for runtime in Client().runtimes()["runtimes"]]
        ['crun', 'gvisor', 'io.containerd.runc.v2', 'kata', 'nvidia', 'runc']

        Raises: DiskTimeout.
        """
        return _run(self._questions.runtimes())

    def explain(self, runtime: str) -> RuntimeDescription:
        """Return what is known of one runtime: definition, origin, options, whether it is available.

        >>> runtime = Client().explain("gvisor")
        >>> runtime["source"], runtime["origin"]["line"], runtime["available"]
        ('configured', 7, True)

        Raises: UnknownRuntime, InvalidRuntimeName, DiskTimeout.
        """
        return _run(self._questions.explain(runtime))

    def status(self) -> Status:
        """Return how the daemon is, health first.

        >>> Client().status()["default_runtime"]
        'crun'
        """
        return _run(self._questions.status())

    def healthz(self) -> Health:
        """Return that the daemon's process is well: its loop, its watcher, its store.

        >>> Client().healthz()
        {'status': 'ok'}

        Raises: Unhealthy.
        """
        return _run(self._questions.healthz())

    def generations(self) -> Generations:
        """Return the retained generations, the newest, which is the current one, first, under ``generations``.

        >>> [each["generation"] for each in Client().generations()["generations"]]
        [1]
        """
        return _run(self._questions.generations())

    def generation(self, number: int) -> GenerationDetail:
        """Return all of one generation: its merged configuration, and every answer that was given in it.

        >>> Client().generation(1)["runtimes"]["kata"]["shim"]
        'io.containerd.kata.v2'

        Raises: NoSuchGeneration, GenerationGone, DamagedManifest, StoreFailed, DiskTimeout.
        """
        return _run(self._questions.generation(number))

    def diff(self, old: int, new: int) -> GenerationsDiff:
        """Return what differs in generation ``new`` from ``old``: runtimes by their answers, with both definitions.

        >>> Client().diff(1, 1)["changed"]
        []

        Raises: NoSuchGeneration, GenerationGone, DamagedManifest, StoreFailed, DiskTimeout.
        """
        return _run(self._questions.diff(old, new))

    def reload(self, *, dry_run: bool = False) -> Report:
        """Return the report of a reload, or of what one would do; its ``outcome`` may be ``rejected``.

        >>> Client().reload(dry_run=True)["outcome"]
        'unchanged'

        Raises: Forbidden.
        """
        return _run(self._questions.reload(dry_run=dry_run))

    def gc(self, *, dry_run: bool = False) -> Collection:
        """Return the verdict on every wrapper, and why; remove those that may go unless it is a ``dry_run``.

        >>> [wrapper["verdict"] for wrapper in Client().gc(dry_run=True)["wrappers"]]
        ['keep']

        Raises: Forbidden, StoreFailed, DiskTimeout.
        """
        return _run(self._questions.gc(dry_run=dry_run))

    def watch(self, since: int | None = None, *, patience_s: float = 60.0) -> Generator[Event, None, None]:
        """Yield what happens in the daemon, from the event after number ``since`` on, or from now on; never ends.

        Heartbeats are among the events, so that whoever iterates gets a turn every 15 s. When the connection ends,
        because the daemon is restarted, say, it is made anew from the last event on; an event of type ``gap`` says
        that some were lost.

        >>> client = Client()
        >>> seq = client.status()["events"]["seq"]
        >>> _ = client.reload()
        >>> for event in client.watch(since=seq):
        ...     if event["type"] == "reload":
        ...         print(event["outcome"])
        ...         break
        unchanged

        Raises: DaemonUnreachable where there is no daemon, or none again within ``patience_s`` seconds.
        """
        watching = self._questions.watching(since, patience_s)
        try:
            while True:
                yield _run(watching.next())
        finally:
            watching.close()


class Blocking:
    """Waits by having the whole thread wait."""

    async def send(self, sock: socket_type, data: bytes, timeout_s: float) -> None:
        """Send all of ``data``."""
        sock.settimeout(timeout_s)
        sock.sendall(data)

    async def receive(self, sock: socket_type, timeout_s: float) -> bytes:
        """Return what comes next."""
        sock.settimeout(timeout_s)
        return sock.recv(_RECEIVE_BYTES)

    async def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""
        time.sleep(seconds)  # noqa: ASYNC251 - there is no loop


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what ``coroutine`` returns. It awaits nothing but `Blocking`, so it never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    raise AssertionError("it was suspended, and there is nobody to go on with it")
