"""Defines the interface of an engine: pure functions, and as data the files, programs and sockets that they need.

The caller reads the files and runs the programs that an engine names, and passes their bytes to the engine's functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import dirname
from typing import Any, Literal

from runtimed.core.configuration.inputs import Source
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import ConfigurationRejected, Problem, RuntimedError

# The body of GET /v1/runtimes (core.shapes.RuntimeTable).
Table = Mapping[str, Any]
# A configuration of an engine as a value, before it is rendered.
Document = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Original:
    """A configuration of an engine that is to be imported.

    ``renames`` maps old names of runtimes to new ones. ``is_file`` tells whether a path leads to a regular file.
    """

    source: Source
    renames: Mapping[str, str] = field(default_factory=dict)
    is_file: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The choices of the command line for an export."""

    # The version of containerd's configuration. None: with a containerd on this node the one that it reads, else the
    # oldest.
    config_version: int | None = None
    # For kubernetes: schedule the pods of a runtime to nodes whose label says that they have it.
    node_selector: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A program to run: its words, found on PATH, and additions to the environment. The answer is its stdout."""

    words: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Get:
    """An HTTP request on a Unix socket. The answer is the body of the response."""

    socket: str
    path: str


@dataclass(frozen=True, slots=True)
class CriStatus:
    """A verbose Status request to containerd's CRI plugin. The answer is the JSON of ``info["config"]``."""

    socket: str


Question = Run | Get | CriStatus


class NoAnswer(RuntimedError):
    """An engine does not answer a question, or answers with an error; ``missing``: its program does not exist."""

    code = "no-answer"

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing


class NotInstalled(ConfigurationRejected):
    """The directory of an engine does not exist, so the engine is not installed."""

    code = "engine-not-installed"


@dataclass(frozen=True, slots=True)
class Found:
    """The state of a node before an engine's file is written.

    ``files`` has the bytes of each of `Writing.inputs` that exists. ``version`` is the answer of `Writing.version`, or
    None if the engine's program is missing. ``scratch`` is the directory for the files of `Plan.scratch`, which exists
    only while the checks run. ``command_line`` has the words of the engine's running process (`Asking.process`).
    """

    files: Mapping[str, bytes]
    version: str | None
    scratch: str
    command_line: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileWrite:
    """The new content of a file."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """How to write an engine's files, so that each step leaves a configuration that the engine accepts.

    The caller makes the files of ``scratch`` (path below `Found.scratch` -> content) and runs ``checks``. Each check
    must succeed, unless its program is missing or an older engine does not know it (``unknown`` is in its stderr). If
    all checks have run, ``judge`` gets their stdout and returns problems. Then the caller makes ``writes`` in order,
    each by a rename, and skips a file with equal bytes. If the bytes of all files are equal, it runs no check.
    """

    writes: tuple[FileWrite, ...]
    remarks: tuple[Problem, ...] = ()
    scratch: Mapping[str, bytes] = field(default_factory=dict)
    checks: tuple[Run, ...] = ()
    unknown: str | None = None
    judge: Callable[[Sequence[bytes]], Sequence[Problem]] = lambda _: ()
    # The document in the files if it is not that of `Engine.write`, because an older engine cannot run all runtimes.
    document: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """The file that an engine reads.

    ``path`` is the file, ``inputs`` are all files that ``plan`` looks at (``*`` in a name matches any characters, and
    a leading dot), ``version`` is a program that prints the engine's version. ``plan`` raises ConfigurationRejected,
    with the place of each problem, where it must not write: a file that runtimed does not own, an entry of another
    owner, a file that the engine would not read.
    """

    path: str
    inputs: tuple[str, ...]
    version: Run | None
    plan: Callable[[Table, ExportOptions, Found], Plan]

    @property
    def directory(self) -> str:
        """The engine's directory: the one of the file, or the one above a drop-in directory, whose name ends in .d.

        It exists where the engine is installed. Temporary files lie in it, because an engine may read each file in a
        drop-in directory.
        """
        above = dirname(self.path)
        return dirname(above) if above.endswith(".d") else above


@dataclass(frozen=True, slots=True)
class View:
    """The runtimes of an engine, each with a readable line about its binary, and the name of its default runtime.

    ``unasked`` is the number of runtimes that `Asking.questions` leaves out, because each question takes time.
    """

    default: str | None
    runtimes: Mapping[str, str]
    unasked: int = 0


# When a running engine follows a change of its file.
TakesEffect = Literal["reload", "restart", "at once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How to ask a running engine which runtimes it would execute now.

    ``questions`` returns the questions, by name, for a document of `Engine.write` or `Plan`. ``expected`` returns the
    view that follows from that document, and ``answered`` the view that follows from the answers, by the same names.
    ``answered`` raises ValueError, with the reason, for answers that it does not understand. ``process`` is the name of
    the engine's process, None for an engine without a daemon. The questions of an engine with a process have the same
    sockets for each document, also for an empty one.
    """

    questions: Callable[[Document], Mapping[str, Question]]
    expected: Callable[[Document], View]
    answered: Callable[[Mapping[str, bytes]], View]
    process: str | None
    takes_effect: TakesEffect


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine. ``read`` is None if it has no file to import, ``writing`` and ``asking`` if it is not on the node."""

    write: Callable[[Table, ExportOptions], Translation]
    render: Callable[[Document], str]
    read: Callable[[Original], Translation] | None = None
    writing: Writing | None = None
    asking: Asking | None = None
