"""Defines the shape of the trigger of a reload."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict


class Actor(TypedDict):
    """A process that requested a reload."""

    uid: Annotated[int, "its user id"]
    pid: Annotated[int, "its process id; 0 for a process of another PID namespace that the daemon does not see"]
    command: Annotated[str | None, "its command line, cut after 250 characters; null if it could not be read"]


SourceChange = Literal["added", "changed", "removed"]


class ChangedSource(TypedDict):
    """A configuration file that changed. The status of the file is that of the moment when it was read."""

    path: str
    change: SourceChange
    owner: Annotated[int | None, "user id of the file's owner; null if the file was removed or its status is not known"]
    mtime: Annotated[float | None, "the file's time of modification, in seconds since the epoch"]
    inode: Annotated[int | None, "the file's inode number"]


class Trigger(TypedDict):
    """The trigger of a reload: its reason, the processes that requested it, and the files that changed."""

    reason: Annotated[str, "as in the report of the reload"]
    actors: Annotated[list[Actor], "the first sixteen; empty for a file change, a signal and a start"]
    actor_count: int
    sources: Annotated[list[ChangedSource], "the first fifty files that differ from those of the generation before"]
    source_count: int
