"""Decides whether only trusted users can change a file, and gives the remedy if others can."""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass

from runtimed.core.errors import PathRefused
from runtimed.core.message_text import printable
from runtimed.core.mounts import is_read_only_for_all

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# Writes to this device do not change what a reader gets (null(4)), and its owner can only change its mode, so any user
# may own it.
_NULL = os.makedev(1, 3)
# The kernel shows this user where the owner has no number in the user namespace (user_namespaces(7)).
_OVERFLOW_UID = 65534
_ALL_IDS = ["0", "0", "4294967295"]


@dataclass(frozen=True, slots=True)
class Trust:
    """A rule: it trusts files that an uid of ``owners`` owns and no other user can write; if None, it trusts all."""

    owners: frozenset[int] | None

    @classmethod
    def of_process(cls) -> Trust:
        """Return the trust of the effective user: root trusts only root, another user trusts every readable file.

        A user harms only themselves, and homes of mode 0775 are common where each user has a private group.
        """
        return cls(frozenset({0}) if os.geteuid() == 0 else None)

    def refusal(self, path: str, fd: int, status: os.stat_result, *, last: bool) -> PathRefused | None:
        """Return why ``path``, a real path open at ``fd``, is not trusted, or None; ``last``: the walk ends here.

        POSIX ACLs need no separate check: with an ACL the group bits show its mask (acl(5)).
        """
        if self.owners is None or (stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL):
            return None
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in self.owners:
            return _wrong_owner(path, status, _read_only(path, fd, status))
        if stat.S_ISLNK(status.st_mode) or not mode & _OTHERS_WRITE:
            return None  # the mode of a link has no effect
        # In a directory such as /tmp other users cannot rename or remove files that they do not own.
        if not last and stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX:
            return None
        read_only = _read_only(path, fd, status)
        if read_only == "for all":
            return None  # such as a ConfigMap's volume
        return _writable(path, status, read_only, last=last)


def _read_only(path: str, fd: int, status: os.stat_result) -> str:
    """Return "for all" or "here" where the file system or the mount of ``path`` is read-only, "" where it is not."""
    if not os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        return ""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            info = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
        with open("/proc/self/mountinfo", "rb") as file:
            own = file.read()
        first = b""
        # Without it only a read-only file system counts, and a read-only mount does not.
        with suppress(OSError), open("/proc/1/mountinfo", "rb") as file:
            first = file.read()
        several_names = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
        mount = int(info[b"mnt_id"])
        for_all = is_read_only_for_all(own, first, mount, os.fsencode(path), several_names=several_names)
    except (OSError, KeyError, ValueError):
        return "here"
    return "for all" if for_all else "here"


def _wrong_owner(path: str, status: os.stat_result, read_only: str) -> PathRefused:
    uid, shown = status.st_uid, shlex.quote(printable(path))
    kind = "belongs"
    if read_only == "for all":
        advice = "correct the owner where the read-only volume is made, or choose another path"
    elif uid == _OVERFLOW_UID and _in_user_namespace():
        advice = "the owner may have no number in this user namespace; choose another path"
    elif stat.S_ISLNK(status.st_mode):
        kind, advice = "is a symbolic link that belongs", f"run: chown -h root: {shown}"
    elif stat.S_ISDIR(status.st_mode):
        advice = _directory_advice(path, f"chown root: {shown}")
    elif stat.S_ISREG(status.st_mode):
        advice = f"look at its content, then run: chown root: {shown}"
    else:
        advice = "choose another path"
    reason = f"{kind} to user id {uid}, who could use it to become root"
    return PathRefused(printable(path), reason, advice, uid, stat.S_IMODE(status.st_mode))


def _writable(path: str, status: os.stat_result, read_only: str, *, last: bool) -> PathRefused:
    mode = stat.S_IMODE(status.st_mode)
    group = f"by its group (group id {status.st_gid})"
    who = {stat.S_IWGRP: group, stat.S_IWOTH: "by everybody"}.get(mode & _OTHERS_WRITE, f"{group} and everybody else")
    command = f"chmod go-w {shlex.quote(printable(path))}"
    if stat.S_ISDIR(status.st_mode):
        # A sticky directory is for all users; a top one such as /, /tmp or /srv may be in use by other programs.
        if mode & stat.S_ISVTX or _is_top(path):
            advice = "choose another directory"
        else:
            advice = f"run: {command}" if last else _directory_advice(path, command)
    else:
        advice = f"run: {command}" if stat.S_ISREG(status.st_mode) else "choose another path"
    here = "; it is read-only for this process, but perhaps not for others" if read_only else ""
    reason = f"can be changed {who} (mode {mode:04o}), who could use it to become root{here}"
    return PathRefused(printable(path), reason, advice, status.st_uid, mode)


def _directory_advice(path: str, command: str) -> str:
    """Return the advice for a directory that may belong to another program or user, such as a home or /usr/local."""
    if _is_top(path):
        return "choose another directory"
    return f"if the directory is for root alone, run: {command}; otherwise choose another directory"


def _is_top(path: str) -> bool:
    return os.path.dirname(path) == "/"


def _in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != _ALL_IDS
    except OSError:
        return False
