"""One error tree, raised with data; each class has a stable ``code`` that clients may rely on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from runtimed.core.message_text import printable

if TYPE_CHECKING:
    from runtimed.core import shapes


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration: where it stands, what was found, what was expected.

    ``line`` and ``column`` count from 1, columns in characters; ``pointer`` is an RFC 6901 JSON
    pointer. They are None where the problem is with the file itself and not with a place in it.
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    pointer: str | None = None
    found: str | None = None
    expected: str | None = None
    # The text ends too early: a writer may be in the middle of its work. Decides whether a watched
    # file is read again before it is reported; of no interest to clients.
    incomplete: bool = False

    def __str__(self) -> str:
        """Return the problem as one printable line: ``file:line:column: /pointer: message``."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return printable(": ".join(part for part in (place, self.pointer, self.message) if part))

    def as_dict(self) -> shapes.ConfigurationProblem:
        """Return the shape that reports carry (design: ``problems`` of a report)."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "pointer": self.pointer,
            "found": self.found,
            "expected": self.expected,
            "message": self.message,
        }


class RuntimedError(Exception):
    """Base of every error this program raises on purpose."""

    code: ClassVar[str] = "error"


class ConfigurationRejected(RuntimedError):
    """The configuration cannot be used; ``problems`` holds the first 1,000 problems, ``untold`` counts the others.

    ``remarks`` holds what has no effect in it.
    """

    code = "configuration-rejected"

    def __init__(self, problems: tuple[Problem, ...], untold: int = 0, *, remarks: tuple[Problem, ...] = ()) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
        self.untold = untold
        self.remarks = remarks

    @property
    def incomplete(self) -> bool:
        """True when every problem is a text that ends too early, as while it is being written."""
        return all(problem.incomplete for problem in self.problems)


class UnknownRuntime(RuntimedError):
    """Nobody configured ``name``, and it is no shim name that containerd could be given."""

    code = "unknown-runtime"

    def __init__(self, name: str, known: tuple[str, ...], nearest: str | None) -> None:
        super().__init__(f"unknown or invalid runtime name: {name}")
        self.name = name
        self.known = known
        self.nearest = nearest


class InvalidRuntimeName(RuntimedError):
    """``name`` is not configured and must not be passed to containerd as a shim name."""

    code = "invalid-runtime-name"

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown or invalid runtime name: {name}")
        self.name = name


class StoreFailed(RuntimedError):
    """An operation on the data root failed; nothing that was published is affected."""

    code = "store-failed"

    def __init__(self, doing: str, path: str, reason: str) -> None:
        super().__init__(f"{doing} {path}: {reason}")
        self.doing = doing
        self.path = path
        self.reason = reason


class DataRootRefused(RuntimedError):
    """The data root cannot be used: it belongs to something else, or its layout is not ours."""

    code = "data-root-refused"

    def __init__(self, path: str, reason: str, advice: str) -> None:
        super().__init__(f"data root {path}: {reason}; {advice}")
        self.path = path
        self.reason = reason
        self.advice = advice


class DamagedManifest(RuntimedError):
    """The manifest of generation ``number`` is not what was written."""

    code = "damaged-manifest"

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"manifest of generation {number}: {reason}")
        self.number = number
        self.reason = reason


class PathRefused(RuntimedError):
    """``path`` must not be used: others could change it, it cannot be reached, or it is the wrong kind of thing.

    ``owner`` (a uid) and ``mode`` (permission bits) are those of ``path`` where they are the reason.
    """

    code = "path-refused"

    def __init__(self, path: str, reason: str, advice: str, owner: int | None = None, mode: int | None = None) -> None:
        super().__init__(f"{path}: {reason}" + (f"; {advice}" if advice else ""))
        self.path = path
        self.reason = reason
        self.advice = advice
        self.owner = owner
        self.mode = mode


class PathMissing(RuntimedError):
    """``path`` does not exist; ``link`` is the symbolic link that leads there, None where none does."""

    code = "path-missing"

    def __init__(self, path: str, link: str | None = None) -> None:
        super().__init__(
            f"{path} does not exist"
            if link is None
            else f"the symbolic link {link} leads to {path}, which does not exist"
        )
        self.path = path
        self.link = link


class BinaryUnavailable(RuntimedError):
    """A file that a runtime's answer names cannot be executed; ``reason`` says why.

    ``missing``: there is no such file; ``refused``: it is there, and the kernel refused to execute it.
    """

    code = "runtime-unavailable"

    def __init__(self, path: str, reason: str, *, missing: bool = False, refused: bool = False) -> None:
        super().__init__(f"error while looking up the specified runtime path: {path}: {reason}")
        self.path = path
        self.reason = reason
        self.missing = missing
        self.refused = refused


class TooManyWaiting(RuntimedError):
    """So many calls of ``user`` wait for a thread that one more may not: it is answered at once, with this."""

    code = "too-many-waiting"

    def __init__(self, user: int | None, most: int) -> None:
        super().__init__(f"{most} requests of user {user} wait for the disk, which is the limit")
        self.user = user
        self.most = most


class SocketRefused(RuntimedError):
    """The socket cannot be at ``path`` (a path, or what was given for one); ``reason`` says why."""

    code = "socket-refused"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"socket {path}: {reason}")
        self.path = path
        self.reason = reason


class AlreadyRunning(RuntimedError):
    """Another process has ``path``, a data root or a socket; ``pid`` is its id, None where that is not known."""

    code = "already-running"

    def __init__(self, path: str, pid: int | None = None) -> None:
        by = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{path} belongs to {by}, which is running; stop that one first, or choose another path")
        self.path = path
        self.pid = pid


class UnknownGroup(RuntimedError):
    """The group that is to own the socket does not exist."""

    code = "unknown-group"

    def __init__(self, name: str) -> None:
        super().__init__(f"group {name!r} does not exist; create it (groupadd), or name another one (--group)")
        self.name = name


class StartFailed(RuntimedError):
    """The configuration is broken, and there is no last good generation to go on with."""

    code = "start-failed"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


class NoSuchGeneration(RuntimedError):
    """Generation ``number`` was never published here."""

    code = "no-such-generation"

    def __init__(self, number: int, newest: int) -> None:
        super().__init__(f"generation {number} was never published here; the newest is {newest}")
        self.number = number


class GenerationGone(RuntimedError):
    """Generation ``number`` was published and cannot be asked any more; ``reason`` says why."""

    code = "generation-gone"

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"generation {number} {reason}")
        self.number = number
        self.reason = reason


class DigestMismatch(RuntimedError):
    """The answer for ``name`` in generation ``number`` has not the digest that was asked for."""

    code = "digest-mismatch"

    def __init__(self, name: str, number: int, wanted: str, found: str) -> None:
        super().__init__(f"{name} in generation {number} has the digest {found}, not {wanted}")
        self.name = name
        self.number = number
        self.wanted = wanted
        self.found = found
