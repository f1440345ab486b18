"""Chooses the default socket, and explains why a socket cannot be reached."""

from __future__ import annotations

import os

from runtimed.client.errors import DaemonUnreachable

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SYSTEM_SOCKET = "/run/runtimed/runtimed.sock"
# Beside the socket.
TABLE_FILE = "table.json"


def default_socket(environ: Mapping[str, str], uid: int) -> str:
    """Return the first of `default_sockets`."""
    return default_sockets(environ, uid)[0]


def default_sockets(environ: Mapping[str, str], uid: int) -> list[str]:
    """Return the sockets that a client of the user ``uid`` tries in this order, until a daemon listens on one.

    They are ``RUNTIMED_SOCKET`` alone, or else those of the user's daemon, if it runs or has left its table file, and
    then the system's. Root uses only the system's, because another user may have set ``XDG_RUNTIME_DIR``.
    """
    if given := environ.get("RUNTIMED_SOCKET"):
        return [given]
    own = [] if uid == 0 else user_directories(environ, uid)
    used = [d for d in own if any(os.path.exists(f"{d}/{name}") for name in ("runtimed.sock", TABLE_FILE))]
    return [*(f"{directory}/runtimed.sock" for directory in used), SYSTEM_SOCKET]


def log_hint(socket: str) -> str:
    """Return the hint to read the log of the daemon that serves ``socket``."""
    user = "" if socket == SYSTEM_SOCKET else "--user "
    return f"look at its log: journalctl {user}-u runtimed"


def user_directories(environ: Mapping[str, str], uid: int) -> list[str]:
    """Return the directories in which a daemon of the user ``uid`` may have its socket; it creates it in the first.

    The last is below the user's state directory, for a user without a session: ``su -``, cron, a container.
    """
    # The XDG base directory specification demands that relative paths are ignored.
    xdg = {name: path for name, path in environ.items() if name.startswith("XDG_") and path.startswith("/")}
    state = xdg.get("XDG_STATE_HOME", f"{environ.get('HOME', '/')}/.local/state")
    named = xdg.get("XDG_RUNTIME_DIR")
    session = named if named is not None and _owner(named) in (None, uid) else f"/run/user/{uid}"
    found = [f"{session}/runtimed"] if session == named or _owner(session) == uid else []
    return [*found, f"{state}/runtimed-run"]


def _owner(path: str) -> int | None:
    """Return the uid of the owner of ``path``, None if it does not exist."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def explain_failure(socket: str, exc: OSError | ValueError, alternatives: Sequence[str] = ()) -> DaemonUnreachable:
    """Return the error for a failed connection to ``socket`` and to all ``alternatives``, with a hint."""
    also = f"; nor can one be reached on {', '.join(alternatives)}" if alternatives else ""
    start = "start it: systemctl start runtimed, or runtimed; one that is elsewhere is found by RUNTIMED_SOCKET"
    if isinstance(exc, PermissionError):
        return DaemonUnreachable(socket, *_explain_denial(socket))
    if isinstance(exc, FileNotFoundError):
        return DaemonUnreachable(socket, f"there is no such socket{also}", start)
    if isinstance(exc, ConnectionRefusedError):
        return DaemonUnreachable(socket, f"no process listens{also}", start)
    # The error for a path that is too long has a text, but no strerror.
    reason = getattr(exc, "strerror", None) or str(exc)
    return DaemonUnreachable(socket, reason[:1].lower() + reason[1:])


def _explain_denial(socket: str) -> tuple[str, str]:
    """Return why this user may not connect to ``socket``, and the hint."""
    try:
        found = os.stat(socket)
    except OSError:
        return "permission denied: a directory on the way may not be entered", "ask as root (sudo)"
    import grp  # noqa: PLC0415 - only this error needs it

    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    reason = f"permission denied: it is for the group {group} (mode {found.st_mode & 0o7777:04o})"
    if found.st_gid == 0 or not found.st_mode & 0o020:
        return reason, "ask as root (sudo), or have the daemon started with --group"
    return reason, f"join that group (sudo usermod -aG {group} USER, then log in again), or ask as root (sudo)"
