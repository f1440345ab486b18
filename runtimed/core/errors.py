"""Defines the errors that this program raises on purpose, each with a stable ``code`` for clients and the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from runtimed.core.message_text import called, printable

if TYPE_CHECKING:
    from runtimed.core import shapes
    from runtimed.core.proof.engine import Step


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration: its place, the value found there, and the expected one.

    ``line`` and ``column`` count from 1, columns in characters; ``pointer`` is an RFC 6901 JSON
    pointer. They are None for a problem of the whole file.
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    pointer: str | None = None
    found: str | None = None
    expected: str | None = None
    # The text ends too early, as in a half-written file: a watched file is then read again before it is reported.
    incomplete: bool = False

    def __str__(self) -> str:
        """Return the problem as one printable line: ``file:line:column: /pointer: message``."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return printable(": ".join(part for part in (place, self.pointer, self.message) if part))

    def as_dict(self) -> shapes.ConfigurationProblem:
        """Return the problem as an entry of a report's ``problems``."""
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
    """Base of every error that this program raises on purpose."""

    code: ClassVar[str] = "error"


class ConfigurationRejected(RuntimedError):
    """The configuration cannot be used; ``problems`` are the first 1,000 problems, ``omitted`` counts the others.

    ``remarks`` are the settings in it that have no effect.
    """

    code = "configuration-rejected"

    def __init__(self, problems: tuple[Problem, ...], omitted: int = 0, *, remarks: tuple[Problem, ...] = ()) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
        self.omitted = omitted
        self.remarks = remarks

    @property
    def incomplete(self) -> bool:
        """Whether every problem is a text that ends too early, as in a half-written file."""
        return all(problem.incomplete for problem in self.problems)


class UnknownRuntime(RuntimedError):
    """The name is not configured and is not the name of a shim; ``nearest`` is the known name most like it."""

    code = "unknown-runtime"

    def __init__(self, name: str, known: tuple[str, ...], nearest: str | None) -> None:
        super().__init__(f"unknown or invalid runtime name: {name}")
        self.name = name
        self.known = known
        self.nearest = nearest


class InvalidRuntimeName(RuntimedError):
    """The name is not configured and must not be passed to containerd as a shim name."""

    code = "invalid-runtime-name"

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown or invalid runtime name: {name}")
        self.name = name


class StoreFailed(RuntimedError):
    """An operation on the data root failed; the published generations are not affected."""

    code = "store-failed"

    def __init__(self, doing: str, path: str, reason: str) -> None:
        super().__init__(f"{doing} {path}: {reason}")


class DataRootRefused(RuntimedError):
    """The data root cannot be used: another program owns it, or its layout is unknown."""

    code = "data-root-refused"

    def __init__(self, path: str, reason: str, advice: str) -> None:
        super().__init__(f"data root {path}: {reason}; {advice}")


class DamagedManifest(RuntimedError):
    """The manifest of a generation differs from the one that was written."""

    code = "damaged-manifest"

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"manifest of generation {number}: {reason}")


class PathRefused(RuntimedError):
    """``path`` must not be used: other users could change it, it cannot be reached, or it has the wrong type.

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
    """``path`` does not exist; ``link`` is the symbolic link that leads to it, None if there is no link."""

    code = "path-missing"

    def __init__(self, path: str, link: str | None = None) -> None:
        missing = path if link is None else f"the symbolic link {link} leads to {path}, which"
        super().__init__(f"{missing} does not exist")
        self.path = path
        self.link = link


class BinaryUnavailable(RuntimedError):
    """A file that a resolution names cannot be executed.

    ``missing``: the file does not exist; ``refused``: it exists, and the kernel refused to execute it.
    """

    code = "runtime-unavailable"

    def __init__(self, path: str, reason: str, *, missing: bool = False, refused: bool = False) -> None:
        super().__init__(f"error while looking up the specified runtime path: {path}: {reason}")
        self.path = path
        self.reason = reason
        self.missing = missing
        self.refused = refused


class TooManyWaiting(RuntimedError):
    """A call for a user is refused because the most calls allowed for that user already wait for a thread."""

    code = "too-many-waiting"

    def __init__(self, user: int | None, most: int) -> None:
        super().__init__(f"{most} requests of user {user} wait for the disk, which is the limit")


class SocketRefused(RuntimedError):
    """The daemon cannot listen on ``path``."""

    code = "socket-refused"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"socket {path}: {reason}")
        self.path = path


class AlreadyRunning(RuntimedError):
    """Another process uses ``path``, a data root or a socket; ``pid`` is its id if known."""

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


class StartFailed(RuntimedError):
    """The configuration is rejected at the start, and there is no earlier generation to use."""

    code = "start-failed"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


class NoSuchGeneration(RuntimedError):
    """The generation was never published on this node."""

    code = "no-such-generation"

    def __init__(self, number: int, newest: int) -> None:
        super().__init__(f"generation {number} was never published here; the newest is {newest}")


class GenerationGone(RuntimedError):
    """The generation was published and can no longer be read."""

    code = "generation-gone"

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"generation {number} {reason}")


class ProofOutdated(RuntimedError):
    """The test was of another resolution or of other binaries than those that ``name`` has now."""

    code = "proof-outdated"

    def __init__(self, name: str, changed: str) -> None:
        super().__init__(f"{changed} of {called(name)} changed since the test")


class DigestMismatch(RuntimedError):
    """The resolution of a name in a generation has the digest ``found`` and not the requested one."""

    code = "digest-mismatch"

    def __init__(self, name: str, number: int, wanted: str, found: str) -> None:
        super().__init__(f"{name} in generation {number} has the digest {found}, not {wanted}")
        self.found = found


class TestFailed(RuntimedError):
    """The test of a runtime failed in ``step`` (``core.proof.engine.Step``), for a ``reason`` in plain words."""

    code = "test-failed"

    def __init__(self, step: Step, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason


class TestInterrupted(RuntimedError):
    """A signal interrupts the test of a runtime."""

    code = "test-interrupted"
