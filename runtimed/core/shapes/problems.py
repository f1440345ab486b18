"""The shapes of problems (RFC 9457), and of what some say besides. See ``core.shapes``."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict


class ProblemHead(TypedDict):
    """What every problem says besides its code."""

    type: Annotated[str, "`urn:runtimed:problem:` and the code"]
    title: Annotated[str, "the same for every problem with this code"]
    status: Annotated[int, "that of the answer"]
    detail: Annotated[str, "what happened, and what to do next"]
    message: Annotated[str, "the detail again, under the name that Docker's clients show"]


class Problem(ProblemHead):
    """What went wrong (RFC 9457). Some codes come with more members, and have shapes of their own."""

    code: Annotated[str, "stable, for programs"]


class NameMembers(TypedDict):
    """What a problem with a runtime's name says besides."""

    runtime: Annotated[str, "the name that was asked for"]
    known: Annotated[list[str], "the first fifty names that are known"]
    known_total: int


class UnknownNameMembers(NameMembers):
    """What the problem of an unknown name says besides."""

    nearest: Annotated[str | None, "the known name that is spelt most like it"]


class InvalidRuntimeName(ProblemHead, NameMembers):
    """The name is not configured, and must not be passed to containerd as that of a shim."""

    code: Literal["invalid-runtime-name"]


class UnknownRuntime(ProblemHead, UnknownNameMembers):
    """The name is not configured, and is not that of a shim."""

    code: Literal["unknown-runtime"]


class UnavailableMembers(TypedDict):
    """What the problem of a runtime that cannot be executed says besides."""

    runtime: str
    path: Annotated[str, "the file that cannot be executed: a path, or a name that PATH leads to"]


class RuntimeUnavailable(ProblemHead, UnavailableMembers):
    """A file that the answer for a configured runtime names cannot be executed."""

    code: Literal["runtime-unavailable"]


class MismatchMembers(TypedDict):
    """What the problem of another digest says besides."""

    digest: Annotated[str, "that of the answer which there is"]


class DigestMismatch(ProblemHead, MismatchMembers):
    """The answer in that generation is not the one whose digest was given."""

    code: Literal["digest-mismatch"]


class UnhealthyMembers(TypedDict):
    """What the problem of a daemon that is unwell says besides."""

    ailments: Annotated[dict[str, str], "why, by subject"]


class Unhealthy(ProblemHead, UnhealthyMembers):
    """The process is unwell."""

    code: Literal["unhealthy"]
