"""The Python client of the daemon: a function for each thing it can be asked, typed answers, typed errors.

>>> from runtimed.client import Client
>>> client = Client()
>>> client.resolve("gvisor")["shim"]
'io.containerd.runc.v2'

`Client` blocks, `AsyncClient` is for asyncio. The standard library only, and little of it at import: a program may
import this for one question. The types of the answers are those of ``runtimed.core.shapes``.

- ``sync``          `Client`, and how to block
- ``asynchronous``  `AsyncClient`, and how to wait in an event loop
- ``questions``     what can be asked, once for both
- ``conversation``  connecting, trusting, asking, asking again; ``events`` is that of a client that listens
- ``wire``          what is sent, and the reading of what comes back
- ``places``        which socket is meant, and why it cannot be had
- ``errors``        what a request can fail with
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

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
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
    # asyncio takes longer to import than all the rest, so who does not ask for it does not get it.
    if name == "AsyncClient":
        from runtimed.client.asynchronous import AsyncClient  # noqa: PLC0415 - that is the point

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
