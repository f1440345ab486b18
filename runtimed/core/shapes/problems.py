"""Defines the shapes of problems (RFC 9457) and of their extension members."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict


class ProblemHead(TypedDict):
    """The members that every problem has beside its code."""

    type: Annotated[str, "`urn:runtimed:problem:` and the code"]
    title: Annotated[str, "the same for every problem with this code"]
    status: Annotated[int, "the status of the response"]
    detail: Annotated[str, "the cause, and what to do next"]
    message: Annotated[str, "the detail again, under the name that Docker's clients show"]


class Problem(ProblemHead):
    """An error (RFC 9457). Problems with some of the codes have more members, and their own shapes."""

    code: Annotated[str, "stable, for programs"]


class NameMembers(TypedDict):
    """The extension members of a problem with a runtime's name."""

    runtime: Annotated[str, "the requested name"]
    known: Annotated[list[str], "the first fifty known names"]
    known_total: int


class UnknownNameMembers(NameMembers):
    """The extension members of the problem of an unknown name."""

    nearest: Annotated[str | None, "the known name with the most similar spelling"]


class InvalidRuntimeName(ProblemHead, NameMembers):
    """The name is not configured, and must not be passed to containerd as the name of a shim."""

    code: Literal["invalid-runtime-name"]


class UnknownRuntime(ProblemHead, UnknownNameMembers):
    """The name is neither configured nor the name of a shim."""

    code: Literal["unknown-runtime"]


class UnavailableMembers(TypedDict):
    """The extension members of the problem of a runtime that cannot be executed."""

    runtime: str
    path: Annotated[str, "the file that cannot be executed: a path, or a name to look up on PATH"]


class RuntimeUnavailable(ProblemHead, UnavailableMembers):
    """A file in the resolution of a configured runtime cannot be executed."""

    code: Literal["runtime-unavailable"]


class MismatchMembers(TypedDict):
    """The extension members of the problem of another digest."""

    digest: Annotated[str, "the digest of the resolution in that generation"]


class DigestMismatch(ProblemHead, MismatchMembers):
    """The resolution in that generation has another digest than the request."""

    code: Literal["digest-mismatch"]


class UnhealthyMembers(TypedDict):
    """The extension members of the problem of an unhealthy daemon."""

    ailments: Annotated[dict[str, str], "the reasons, by subject"]


class Unhealthy(ProblemHead, UnhealthyMembers):
    """The process is unhealthy."""

    code: Literal["unhealthy"]
