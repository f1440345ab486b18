"""Which socket is meant, and why it cannot be had."""

from __future__ import annotations

import os

from runtimed.client.errors import DaemonUnreachable

TYPE_CHECKING = False  # what typing's constant is, without the milliseconds that typing costs
if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_SOCKET = "/run/runtimed/runtimed.sock"


def default_socket(environ: Mapping[str, str], uid: int) -> str:
    """Return the socket that the user ``uid`` means by saying nothing.

    ``RUNTIMED_SOCKET``, else that of the user's own daemon if it is there, else the system's. Root has no
    daemon but the system's: what ``XDG_RUNTIME_DIR`` says may come from somebody else.
    """
    if given := environ.get("RUNTIMED_SOCKET"):
        return given
    if uid != 0:
        # The XDG base directory specification: a relative path is to be ignored.
        given = environ.get("XDG_RUNTIME_DIR", "")
        own = f"{given if given.startswith('/') else f'/run/user/{uid}'}/runtimed/runtimed.sock"
        if os.path.exists(own):
            return own
    return SYSTEM_SOCKET


def explain_failure(socket: str, exc: OSError | ValueError) -> DaemonUnreachable:
    """Return what a failed connection means, and what to do about it."""
    start = "start it: systemctl start runtimed, or runtimed; one that is elsewhere is found by RUNTIMED_SOCKET"
    if isinstance(exc, PermissionError):
        return DaemonUnreachable(socket, *_explain_denial(socket))
    if isinstance(exc, FileNotFoundError):
        return DaemonUnreachable(socket, "there is no such socket", start)
    if isinstance(exc, ConnectionRefusedError):
        return DaemonUnreachable(socket, "nobody listens there", start)
    # A path that is too long for a socket has a text, but no errno.
    reason = getattr(exc, "strerror", None) or str(exc)
    return DaemonUnreachable(socket, reason[:1].lower() + reason[1:])


def _explain_denial(socket: str) -> tuple[str, str]:
    """Return why this user may not connect to ``socket``, and what would help."""
    try:
        found = os.stat(socket)
    except OSError:
        return "permission denied: a directory on the way may not be entered", "ask as root (sudo)"
    import grp  # noqa: PLC0415 - for this one error only

    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    reason = f"permission denied: it is for the group {group} (mode {found.st_mode & 0o7777:04o})"
    if found.st_gid == 0 or not found.st_mode & 0o020:
        return reason, "ask as root (sudo), or have the daemon started with --group"
    return reason, f"join that group (sudo usermod -aG {group} USER, then log in again), or ask as root (sudo)"
