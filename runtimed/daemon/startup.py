"""Does the steps of a start that come before the first generation: settings, directories, store, sockets."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import AsyncExitStack

import structlog

from runtimed.api.sockets import BoundSocket, bind_socket, group_id, inherited_name, parse_host
from runtimed.core.config import Documents, Settings, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import ConfigurationRejected, PathRefused, SocketRefused
from runtimed.core.history.manifest import Manifest, rebuild_wrappers
from runtimed.core.message_text import printable
from runtimed.daemon.arguments import Arguments
from runtimed.daemon.preflight import runtime_directories
from runtimed.host.containers import container_states
from runtimed.host.store import Recovered, Store, believed
from runtimed.host.systemd import Inherited, take_sockets
from runtimed.host.trust import Trust, secure_below, secure_directory
from runtimed.host.worker import Worker

log = structlog.get_logger()

SOCKET_MODE = 0o660


def find_settings(documents: Documents, arguments: Arguments, last: Manifest | None, config_text: bytes) -> Settings:
    """Return the settings to run with: those of ``documents``, or of the last good generation where they are invalid.

    Flags override both; without any valid configuration they and the defaults remain. ``last`` and ``config_text``
    are the generation on disk, if any; it counts only if it came from the same main file.

    Raises:
        ConfigurationRejected: the flags themselves are wrong.
    """
    if last is not None and last.configuration == documents.main_path:
        lost = documents.main is None and documents.main_path in last.sources
        if lost or not _is_valid(documents, arguments):
            documents = Documents(documents.main_path, Source(documents.main_path, config_text))
    if not _is_valid(documents, arguments):
        documents = Documents(documents.main_path)
    return parse_configuration(documents, arguments.flags, arguments.defaults).settings


def _is_valid(documents: Documents, arguments: Arguments) -> bool:
    try:
        parse_configuration(documents, arguments.flags, arguments.defaults)
    except ConfigurationRejected:
        return False
    return True


async def open_store(path: str, trust: Trust, worker: Worker, stack: AsyncExitStack) -> tuple[Store, Recovered]:
    """Return the store of the data root ``path`` and its last generation; ``stack`` closes it and its ``worker``."""
    stack.callback(worker.close)
    root = await worker.run(secure_directory, path, trust, 0o700)
    await worker.run(secure_below, root, believed(root), trust)
    store = Store(root)

    def release() -> None:
        # A publish that hangs keeps the lock of the data root until it ends or the process does.
        if worker.close():
            store.close()

    stack.callback(release)
    recovered = await worker.run(store.open, rebuild_wrappers)
    for fault in recovered.faults:
        log.warning("store.recovered", fault=fault)
    return store, recovered


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
