"""What a request to the daemon can fail with: no daemon, no answer, or its no."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

    Document = dict[str, Any]


class ClientError(Exception):
    """Base of all that a request can fail with; ``code`` is stable, ``hint`` says what to do next where it is known."""

    code = "client-error"
    hint = ""


class DaemonUnreachable(ClientError):
    """Nobody answers on ``socket``; ``reason`` says why not."""

    code = "daemon-unreachable"

    def __init__(self, socket: str, reason: str, hint: str = "") -> None:
        super().__init__(f"no answer from a daemon on {socket}: {reason}")
        self.socket = socket
        self.reason = reason
        self.hint = hint


class TimedOut(DaemonUnreachable):
    """The whole answer was not there in time. What was asked may have been done all the same."""

    code = "timed-out"


class UntrustedServer(ClientError):
    """The process on ``socket`` belongs to user ``uid``, whom this one must not believe. It was sent nothing."""

    code = "untrusted-server"

    def __init__(self, socket: str, uid: int) -> None:
        super().__init__(
            f"the server on {socket} is run by user {uid}, whose answers user {os.geteuid()} must not trust"
        )
        self.socket = socket
        self.uid = uid
        self.hint = "use a socket that is served by root" + ("" if os.geteuid() == 0 else ", or by yourself")


class BadAnswer(ClientError):
    """What came from ``socket`` is no answer of a runtimed; ``reason`` says in which way."""

    code = "bad-answer"

    def __init__(self, socket: str, reason: str) -> None:
        super().__init__(f"the answer from {socket} cannot be understood: {reason}")
        self.socket = socket
        self.reason = reason
        self.hint = "is it the socket of a runtimed, and of a version that fits this client's?"


class Refused(ClientError):
    """The daemon said no: ``status``, ``code`` and ``detail`` of ``problem`` (RFC 9457), which may hold more."""

    def __init__(self, status: int, problem: Document) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code") or "unknown")
        self.detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
        super().__init__(self.detail)


class UnknownRuntime(Refused):
    """Nobody configured that name."""

    @property
    def known(self) -> list[str]:
        """Names that are configured, or the first of very many."""
        return list(self.problem.get("known", ()))

    @property
    def nearest(self) -> str | None:
        """The configured name that is most like it, None when none is."""
        nearest = self.problem.get("nearest")
        return None if nearest is None else str(nearest)


class InvalidRuntimeName(Refused):
    """That name is not configured, and no name that containerd may be given."""


class RuntimeUnavailable(Refused):
    """The runtime is configured, but its binary is not there."""


class NoSuchGeneration(Refused):
    """No generation has ever had that number."""


class GenerationGone(Refused):
    """There was that generation, and it is no longer retained."""


class DigestMismatch(Refused):
    """That generation gave another answer than the one the digest is of."""

    @property
    def digest(self) -> str:
        """The digest of the answer that it gave."""
        return str(self.problem.get("digest", ""))


class DiskTimeout(Refused):
    """A file system that the daemon had to look at does not answer; the same question may be answered later."""


class StoreFailed(Refused):
    """The daemon's data root cannot be read or written."""


class DamagedManifest(Refused):
    """That generation is retained, and what is on the disk of it is not what was written."""


class Forbidden(Refused):
    """This user may ask, but not make the daemon work."""


class Unhealthy(Refused):
    """The daemon's process is unwell."""

    @property
    def ailments(self) -> Mapping[str, str]:
        """What is wrong, by subject."""
        return dict(self.problem.get("ailments", {}))


class TooManyClients(Refused):
    """The daemon has as many connections, listeners or waiting questions as it takes; ask again in a while."""


class BadRequest(Refused):
    """The daemon can make nothing of the question: an argument that nothing can have, or another version's daemon."""


class InternalError(Refused):
    """The daemon was not up to the question; its log says why."""


def refuse(status: int, problem: Document) -> NoReturn:
    """Raise the exception that the table of problem codes names for ``problem``; `Refused` for an unknown code."""
    from runtimed.core.problem_codes import DEFAULT_HINT, PROBLEM_CODES  # noqa: PLC0415 - only errors need it

    known = PROBLEM_CODES.get(str(problem.get("code")))
    kind: type[Refused] = Refused if known is None else globals()[known.exception]
    error = kind(status, problem)
    error.hint = DEFAULT_HINT if known is None else known.hint
    raise error
