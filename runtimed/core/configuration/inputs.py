"""Defines the inputs of a configuration: its files as they are at one instant, and the flags of the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runtimed.core.errors import Problem


@dataclass(frozen=True, slots=True)
class FileStatus:
    """The user id of a file's owner, its time of modification in seconds since the epoch, and its inode number."""

    owner: int
    mtime_s: float
    inode: int


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of one configuration file, and the status of the file that was read; None for a stream.

    The status does not count when documents are compared: a file that is replaced by an equal one did not change.
    """

    path: str
    data: bytes
    status: FileStatus | None = field(default=None, compare=False)

    @property
    def checksum(self) -> str:
        """The checksum of the bytes."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Documents:
    """All configuration files at one instant: the main file, then the drop-ins in the order in which they apply.

    ``main`` is None if the file does not exist. ``problems`` has the files that cannot be read, ``remarks`` the
    files that are skipped; remarks do not count when documents are compared, because editors' files come and go.
    """

    main_path: str
    main: Source | None = None
    dropins: tuple[Source, ...] = ()
    problems: tuple[Problem, ...] = ()
    remarks: tuple[Problem, ...] = field(default=(), compare=False)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files that exist and can be read, in order."""
        return tuple(source for source in (self.main, *self.dropins) if source is not None)


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of the command line, which win over every document."""

    # Key of daemon.json -> value, for each flag that is given.
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    # --add-runtime NAME=PATH, as given.
    runtimes: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """The keys of daemon.json that a flag overrides; an empty value is "not given"."""
        return [key for key, value in self.settings.items() if value not in (None, "", ())]

    @property
    def names(self) -> set[str]:
        """The runtimes of daemon.json that --add-runtime overrides."""
        return {text.partition("=")[0].strip() for text in self.runtimes}

    @property
    def log_format(self) -> str | None:
        """The value of --log-format, None if not given; the log has it before the configuration is read."""
        given = self.settings.get("log-format")
        return None if given is None else str(given)
