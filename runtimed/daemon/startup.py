"""Does the steps of a start before the first generation, or only checks them: settings, directories, store, sockets."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import structlog

from runtimed.api.sockets import BoundSocket, bind_socket, group_id, inherited_name, parse_host
from runtimed.core.config import Config, Settings
from runtimed.core.configuration.inputs import Documents, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import (
    ConfigurationRejected,
    DataRootRefused,
    PathMissing,
    PathRefused,
    RuntimedError,
    SocketRefused,
    StoreFailed,
)
from runtimed.core.history.manifest import Manifest, rebuild_scripts
from runtimed.core.message_text import printable
from runtimed.daemon.arguments import Arguments
from runtimed.host.containers import container_states
from runtimed.host.store import Recovered, Store, trusted_paths
from runtimed.host.store.disk import DIRECTORY_MODE, FILE_MODE
from runtimed.host.store.lock import check_version
from runtimed.host.store.table_file import StoreWithTableFile, TableFile
from runtimed.host.systemd import Inherited, take_sockets
from runtimed.host.trust import Trust, secure_below, secure_directory
from runtimed.host.units import socket_names
from runtimed.host.worker import Worker

log = structlog.get_logger()

SOCKET_MODE = 0o660
# FileDescriptorName= of the shipped socket unit.
_SHIPPED_NAME = "runtimed"


def find_configuration(
    documents: Documents, arguments: Arguments, last: Manifest | None, config_text: bytes, parsed: Config | None = None
) -> Config:
    """Return the configuration to start with: ``documents``, or the last good generation where they are invalid.

    Flags override both; without any valid configuration they and the defaults remain. ``last`` and ``config_text``
    are the generation on disk, if any; it counts only if it came from the same main file. ``parsed`` is what an earlier
    call returned, and saves work.

    Raises:
        ConfigurationRejected: the flags themselves are wrong.
    """
    for candidate in _candidates(documents, last, config_text):
        with contextlib.suppress(ConfigurationRejected):
            return parse_configuration(candidate, arguments.flags, arguments.defaults, previous=parsed)
    return parse_configuration(Documents(documents.main_path), arguments.flags, arguments.defaults)


def _candidates(documents: Documents, last: Manifest | None, config_text: bytes) -> Iterator[Documents]:
    path = documents.main_path
    has_last = last is not None and last.configuration == path
    is_lost = last is not None and has_last and documents.main is None and path in last.sources
    if not is_lost:
        yield documents
    if has_last:
        yield Documents(path, Source(path, config_text))


async def open_store(path: str, trust: Trust, worker: Worker, stack: AsyncExitStack) -> tuple[Store, Recovered]:
    """Return the store of the data root ``path`` and its last generation; ``stack`` closes it and its ``worker``."""
    stack.callback(worker.close)
    root = await worker.run(secure_directory, path, trust, DIRECTORY_MODE)
    await worker.run(secure_below, root, trusted_paths(root), trust)
    store = Store(root)

    def release() -> None:
        # A publish that hangs keeps the lock of the data root until it ends or the process does.
        if worker.close():
            store.close()

    stack.callback(release)
    recovered = await worker.run(store.open, rebuild_scripts)
    for fault in recovered.faults:
        log.warning("store.recovered", fault=fault)
    return store, recovered


def runtime_directories(settings: Settings) -> tuple[str, ...]:
    """Return the exec root and the directories of the sockets that a daemon with ``settings`` binds."""
    paths = [parse_host(host) for host in settings.hosts if inherited_name(host) is None]
    return (settings.exec_root, *map(os.path.dirname, paths))


def secure_runtime_directory(trust: Trust, directory: str) -> str:
    """Return the real path of a directory for sockets or run-time state, after creating it if missing. Blocks."""
    # A user's directory is private: in a shared parent, a group with many members could connect otherwise.
    return secure_directory(directory, trust, 0o755 if os.geteuid() == 0 else 0o700)


def secure_runtime_directories(settings: Settings, trust: Trust) -> None:
    """Check that no other user can change a directory that the daemon is about to write to. Blocks."""
    for directory in runtime_directories(settings):
        secure_runtime_directory(trust, directory)
    check_owner(settings.exec_root, os.geteuid())
    secure_below(settings.exec_root, container_states(settings.exec_root), trust)


def check_owner(exec_root: str, uid: int) -> None:
    """Check that only the user ``uid`` can change the directory ``exec_root``, from which its runtimes are run.

    Raises: PathRefused. For root, `secure_directory` has checked the directory and all of its parents.
    """
    found = os.stat(exec_root)
    if uid == 0 or (found.st_uid == uid and not found.st_mode & 0o022):
        return
    reason = f"belongs to user id {found.st_uid} and has mode {found.st_mode & 0o7777:04o}"
    advice = "name a directory that only you can write, with --exec-root or by the variable XDG_RUNTIME_DIR"
    raise PathRefused(printable(exec_root), reason, advice)


def bind_sockets(
    settings: Settings, environ: MutableMapping[str, str], stack: AsyncExitStack
) -> list[BoundSocket | Inherited]:
    """Return the listening sockets of ``settings``. Clients that connect now wait for the first generation."""
    inherited = take_sockets(environ)
    for one in inherited:
        stack.callback(one.close)
    sockets: list[BoundSocket | Inherited] = []
    for host in settings.hosts:
        if (name := inherited_name(host)) is None:
            # For an inherited socket the unit sets mode and group.
            gid = group_id(settings.group) if settings.group else None
            bound = bind_socket(parse_host(host), mode=SOCKET_MODE, gid=gid)
            stack.callback(bound.close)
            sockets.append(bound)
            continue
        found = [one for one in inherited if name in ("", one.name)]
        if not found:
            raise SocketRefused(host, "systemd has handed over no such socket; start runtimed.socket first")
        sockets += found
    return sockets


async def continue_generation_numbers(
    store: Store, recovered: Recovered, settings: Settings, worker: Worker
) -> Recovered:
    """Return ``recovered``; as unpublished where clients have seen newer generations since the last boot."""
    current = recovered.last.number if recovered.last is not None else 0
    newest = await worker.run(store.remember_numbers_in, settings.exec_root, current)
    if newest is None:
        return recovered
    log.warning("store.rolled_back", data_root=store.root, found=current, newest=newest)
    return replace(recovered, published=False)


def with_table_file(store: Store, sockets: Sequence[BoundSocket | Inherited], exec_root: str) -> StoreWithTableFile:
    """Return ``store`` with the table file in ``exec_root``.

    The users who may connect to the socket beside the file may read it; where there is none, to the first socket.
    """
    directory = os.path.realpath(exec_root)
    beside = [each.path for each in sockets if os.path.realpath(os.path.dirname(each.path)) == directory]
    path = (*beside, sockets[0].path)[0]
    mode, gid = FILE_MODE, os.getegid()
    # An abstract socket, or one whose path was removed, has neither mode nor group.
    with contextlib.suppress(OSError):
        found = os.stat(path if path.startswith("/") else "")
        mode, gid = FILE_MODE | found.st_mode & 0o044, found.st_gid
    return StoreWithTableFile(store, TableFile(exec_root, mode, gid))


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
