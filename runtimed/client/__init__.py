"""The Python client of the daemon: a function for each thing it can be asked, and typed errors.

    client = Client()
    client.resolve("gvisor")["shim"]  # 'io.containerd.runc.v2'

The standard library only, and little of it at import: a program may import this for one question.

- ``sync``     `Client`, all that does I/O
- ``wire``     what is sent, and the reading of what comes back
- ``places``   which socket is meant, and why it cannot be had
- ``errors``   what a request can fail with
"""

from runtimed.client.errors import (
    BadAnswer,
    ClientError,
    DaemonUnreachable,
    DigestMismatch,
    DiskTimeout,
    Forbidden,
    GenerationGone,
    InvalidRuntimeName,
    NoSuchGeneration,
    Refused,
    RuntimeUnavailable,
    TimedOut,
    Unhealthy,
    UnknownRuntime,
    UntrustedServer,
)
from runtimed.client.places import SYSTEM_SOCKET, default_socket
from runtimed.client.sync import Client

__all__ = [
    "SYSTEM_SOCKET",
    "BadAnswer",
    "Client",
    "ClientError",
    "DaemonUnreachable",
    "DigestMismatch",
    "DiskTimeout",
    "Forbidden",
    "GenerationGone",
    "InvalidRuntimeName",
    "NoSuchGeneration",
    "Refused",
    "RuntimeUnavailable",
    "TimedOut",
    "Unhealthy",
    "UnknownRuntime",
    "UntrustedServer",
    "default_socket",
]
