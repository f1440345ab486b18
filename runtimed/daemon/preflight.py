"""Checks the settings of a start against the host: directories, the group, and sockets from systemd."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping

from runtimed.api.sockets import group_id, inherited_name, parse_host
from runtimed.core.config import Settings
from runtimed.core.errors import DataRootRefused, PathMissing, PathRefused, RuntimedError, SocketRefused, StoreFailed
from runtimed.core.message_text import printable
from runtimed.host.store.lock import check_version
from runtimed.host.systemd import take_sockets
from runtimed.host.trust import Trust, secure_directory
from runtimed.host.units import socket_names

# FileDescriptorName= of the shipped socket unit.
_SHIPPED_NAME = "runtimed"


def runtime_directories(settings: Settings) -> tuple[str, ...]:
    """Return the exec root and the directories of the sockets that a daemon with ``settings`` binds."""
    paths = [parse_host(host) for host in settings.hosts if inherited_name(host) is None]
    return (settings.exec_root, *map(os.path.dirname, paths))


def refusals(settings: Settings, trust: Trust, environ: Mapping[str, str]) -> Iterator[RuntimedError]:
    """Yield why a start with ``settings`` would fail. The host is not changed; a start creates missing directories."""
    try:
        if settings.group is not None:
            group_id(settings.group)
        yield from _unknown_sockets(settings, environ)
    except RuntimedError as error:
        yield error
    directories = [settings.data_root, *runtime_directories(settings)]
    if settings.pidfile:
        directories.append(os.path.dirname(settings.pidfile))
    for directory in dict.fromkeys(directories):
        refusal = _directory_refusal(directory, trust, data_root=directory == settings.data_root)
        if refusal is not None:
            yield refusal


def _directory_refusal(directory: str, trust: Trust, *, data_root: bool) -> RuntimedError | None:
    try:
        real = secure_directory(directory, trust, create=False)
        if data_root:
            check_version(real)
    except PathMissing as error:
        return None if error.link is None else error
    except (PathRefused, DataRootRefused) as error:
        return error
    except OSError as exc:
        # A user who checks root's configuration may not read root's data root.
        if exc.errno != errno.EACCES:
            return StoreFailed("reading", printable(directory), (exc.strerror or str(exc)).lower())
    return None


def _unknown_sockets(settings: Settings, environ: Mapping[str, str]) -> Iterator[RuntimedError]:
    """Yield a refusal for each ``fd://NAME`` of a socket that systemd does not pass.

    Raises:
        SocketRefused: systemd passed a descriptor to this process that is no socket.
    """
    named = [(host, name) for host in settings.hosts if (name := inherited_name(host))]
    if not named:
        return
    # Outside of the unit no socket is passed; the installed units define the possible names.
    known = [one.name for one in take_sockets(dict(environ))] or sorted({_SHIPPED_NAME, *socket_names()})
    for host, name in named:
        if name not in known:
            reason = f"systemd hands over no socket of this name, only {', '.join(known)}; correct the name"
            yield SocketRefused(host, f"{reason}, or write fd:// for all of them")
