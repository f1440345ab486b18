"""Defines the exceptions of a request: the daemon cannot be reached, its response is unusable, or it refuses."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's constant, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

    Document = dict[str, Any]


class ClientError(Exception):
    """Base of the exceptions of a request; ``code`` is stable, ``hint`` says what to do next where it is known."""

    code = "client-error"
    hint = ""


class DaemonUnreachable(ClientError):
    """No daemon responds on ``socket``, for ``reason``."""

    code = "daemon-unreachable"

    def __init__(self, socket: str, reason: str, hint: str = "") -> None:
        super().__init__(f"no answer from a daemon on {socket}: {reason}")
        self.socket = socket
        self.reason = reason
        self.hint = hint


class TimedOut(DaemonUnreachable):
    """The response was not complete in time. The daemon may have done what was requested nevertheless."""

    code = "timed-out"


class UntrustedServer(ClientError):
    """The process on ``socket`` belongs to user ``uid``, whom this process does not trust; it was sent no request."""

    code = "untrusted-server"

    def __init__(self, socket: str, uid: int) -> None:
        super().__init__(
            f"the server on {socket} is run by user {uid}, whose answers user {os.geteuid()} must not trust"
        )
        self.socket = socket
        self.uid = uid
        self.hint = "use a socket that is served by root" + ("" if os.geteuid() == 0 else ", or by yourself")


class BadAnswer(ClientError):
    """The data from ``socket`` is not a response of runtimed, for ``reason``."""

    code = "bad-answer"

    def __init__(self, socket: str, reason: str) -> None:
        super().__init__(f"the answer from {socket} cannot be understood: {reason}")
        self.socket = socket
        self.reason = reason
        self.hint = "is it the socket of a runtimed, and of a version that fits this client's?"


class Refused(ClientError):
    """The daemon refused the request: ``status``, ``code`` and ``detail`` of ``problem`` (RFC 9457)."""

    def __init__(self, status: int, problem: Document) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code") or "unknown")
        self.detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
        super().__init__(self.detail)


class UnknownRuntime(Refused):
    """The name is not configured, and is not the name of a shim."""

    @property
    def known(self) -> list[str]:
        """Known names; the first of them if there are very many."""
        return list(self.problem.get("known", ()))

    @property
    def nearest(self) -> str | None:
        """The known name that is most like it, if there is one."""
        nearest = self.problem.get("nearest")
        return None if nearest is None else str(nearest)


class InvalidRuntimeName(Refused):
    """The name is not configured, and must not be passed to containerd."""


class RuntimeUnavailable(Refused):
    """The runtime is configured, but its binary cannot be executed."""


class NoSuchGeneration(Refused):
    """The generation was never published."""


class GenerationGone(Refused):
    """The generation is no longer retained."""


class DigestMismatch(Refused):
    """The resolution in that generation has another digest than the given one."""

    @property
    def digest(self) -> str:
        """The digest that the resolution has."""
        return str(self.problem.get("digest", ""))


class ProofOutdated(Refused):
    """The runtime has another resolution or other binaries than those of the test."""


class DiskTimeout(Refused):
    """A file system of the daemon's node does not respond; the same request may succeed later."""


class StoreFailed(Refused):
    """The daemon's data root cannot be read or written."""


class DamagedManifest(Refused):
    """The generation is retained, but its files on disk are damaged."""


class Forbidden(Refused):
    """This user may read, but not change anything."""


class Unhealthy(Refused):
    """The daemon's process is unhealthy."""

    @property
    def ailments(self) -> Mapping[str, str]:
        """The reasons, by subject."""
        return dict(self.problem.get("ailments", {}))


class TooManyClients(Refused):
    """The limit of connections, subscribers or waiting requests is reached; try again later."""


class BadRequest(Refused):
    """The daemon does not understand the request: an argument has no valid value, or the versions differ."""


class InternalError(Refused):
    """An error in the daemon; its log has the details."""


def refuse(status: int, problem: Document) -> NoReturn:
    """Raise the exception that the table of problem codes names for ``problem``; `Refused` for an unknown code."""
    from runtimed.core.problem_codes import DEFAULT_HINT, PROBLEM_CODES  # noqa: PLC0415 - only errors need it

    known = PROBLEM_CODES.get(str(problem.get("code")))
    kind: type[Refused] = Refused if known is None else globals()[known.exception]
    error = kind(status, problem)
    error.hint = DEFAULT_HINT if known is None else known.hint
    raise error
