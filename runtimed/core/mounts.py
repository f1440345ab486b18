"""Parses mount tables, ``/proc/PID/mountinfo`` (proc_pid_mountinfo(5)), and decides who can write a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# File systems whose files another machine or a process can change without this machine's kernel; all FUSE types, such
# as fuse.sshfs, have the same prefix.
_REMOTE = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
    | {"orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs"}
)
# File systems that show files of others, through which the files can be written.
_STACKED = frozenset({"aufs", "ecryptfs", "overlay", "unionfs"})
_ESCAPE = re.compile(rb"\\([0-7]{3})")
# The kernel appends this to the root of a mount whose file was removed from its directory.
_DELETED = b"//deleted"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of a mount table."""

    line: bytes
    number: int
    device: bytes
    # The directory or file in the file system, and the mount point.
    root: bytes
    point: bytes
    # The type of the file system.
    kind: str
    # The root was removed or replaced after the mount was made.
    is_outdated: bool
    read_only: bool
    # The file system is read-only through all its mounts.
    file_system_read_only: bool


def is_remote(kind: str) -> bool:
    """Return whether files on a file system of type ``kind`` can change without this machine's kernel."""
    return kind in _REMOTE or kind.startswith("fuse")


def parse_mounts(table: bytes) -> Iterator[Mount]:
    """Yield the mounts in ``table``, the content of a mountinfo, in the order in which they were made."""
    # Not splitlines(): the kernel does not escape a carriage return.
    for line in table.split(b"\n"):
        head, _, tail = line.partition(b" - ")
        fields, rest = head.split(b" "), tail.split(b" ")
        if len(fields) >= 6 and len(rest) >= 3 and fields[0].isdigit():  # noqa: PLR2004 - the form of a line
            yield Mount(
                line=line,
                number=int(fields[0]),
                device=fields[2],
                root=_unescape(fields[3]).removesuffix(_DELETED),
                point=_unescape(fields[4]),
                kind=rest[0].decode(errors="replace"),
                is_outdated=fields[3].endswith(_DELETED),
                read_only=fields[5].split(b",")[0] == b"ro",
                file_system_read_only=rest[-1].split(b",")[0] == b"ro",
            )


def covering_mount(mounts: Iterable[Mount], path: bytes) -> Mount | None:
    """Return the mount of ``path``, a real path; of several at one point the last, which is the visible one."""
    covering = [mount for mount in mounts if is_below(path, mount.point)]
    return max(reversed(covering), key=lambda mount: len(mount.point), default=None)


def is_read_only_for_all(own: bytes, first: bytes, mount: int, path: bytes, *, several_names: bool) -> bool:
    """Return whether no process can write the file at the real path ``path``; False if the tables are incomplete.

    ``own`` is the table of this process, ``first`` that of process 1, and ``mount`` is the number in ``own`` of the
    mount of ``path``. A read-only mount may be private to this process (``ProtectSystem=`` of systemd.exec(5)), so all
    mounts in ``first`` that show the file must be read-only. Only devices and root directories are the same in both
    tables. With ``several_names`` hard links may lead to the file from anywhere in its file system.
    """
    found = next((each for each in parse_mounts(own) if each.number == mount), None)
    if found is None or is_remote(found.kind) or found.kind in _STACKED:
        return False
    if found.file_system_read_only:
        return True
    if not is_below(path, found.point):
        return False
    inner = (found.root.rstrip(b"/") + path[len(found.point.rstrip(b"/")) :]) or b"/"
    same_device = (each for each in parse_mounts(first) if each.device == found.device)
    read_only = [each.read_only for each in same_device if several_names or is_below(inner, each.root)]
    return bool(read_only) and all(read_only)


def is_below(path: bytes, directory: bytes) -> bool:
    """Return whether ``path`` is ``directory``, or is in it."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _unescape(field: bytes) -> bytes:
    """Return a path without mountinfo's escapes of blanks and backslashes."""
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field)
