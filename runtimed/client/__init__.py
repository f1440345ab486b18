"""Provides the daemon's Python client: a method for each request, typed responses, typed errors.

>>> from runtimed.client import Client
>>> client = Client()
>>> client.resolve("gvisor")["shim"]
'io.containerd.runc.v2'

`Client` blocks, `AsyncClient` is for asyncio. The package uses only the standard library, and imports little of it
early, because a program may make only one request. The types of the responses are those of ``runtimed.core.shapes``.

- ``sync``          `Client`
- ``asynchronous``  `AsyncClient`
- ``requests``      the requests of the API, once for both
- ``transport``     connections, trust in the server, time-outs, retries
- ``events``        the stream of events
- ``table_file``    the daemon's table file, from which names are resolved while no daemon responds
- ``wire``          HTTP/1.1: rendering requests, parsing responses
- ``socket_path``   the default socket, and the reasons why it cannot be reached
- ``errors``        the errors of all requests
"""

from runtimed.client.errors import (
    BadAnswer,
    BadRequest,
    ClientError,
    DaemonUnreachable,
    DamagedManifest,
    DigestMismatch,
    DiskTimeout,
    Forbidden,
    GenerationGone,
    InternalError,
    InvalidRuntimeName,
    NoSuchGeneration,
    ProofOutdated,
    Refused,
    RuntimeUnavailable,
    StoreFailed,
    TimedOut,
    TooManyClients,
    Unhealthy,
    UnknownRuntime,
    UntrustedServer,
)
from runtimed.client.socket_path import SYSTEM_SOCKET, default_socket
from runtimed.client.sync import Client

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from runtimed.client.asynchronous import AsyncClient

__all__ = [
    "SYSTEM_SOCKET",
    "AsyncClient",
    "BadAnswer",
    "BadRequest",
    "Client",
    "ClientError",
    "DaemonUnreachable",
    "DamagedManifest",
    "DigestMismatch",
    "DiskTimeout",
    "Forbidden",
    "GenerationGone",
    "InternalError",
    "InvalidRuntimeName",
    "NoSuchGeneration",
    "ProofOutdated",
    "Refused",
    "RuntimeUnavailable",
    "StoreFailed",
    "TimedOut",
    "TooManyClients",
    "Unhealthy",
    "UnknownRuntime",
    "UntrustedServer",
    "default_socket",
]


def __getattr__(name: str) -> object:
    # Importing asyncio takes longer than all the rest, so only AsyncClient's users import it.
    if name == "AsyncClient":
        from runtimed.client.asynchronous import AsyncClient  # noqa: PLC0415 - see above

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
