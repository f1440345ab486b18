"""The command line of runtimed: dockerd's flag names, and what they default to for this user."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtimed import __version__
from runtimed.client.socket_path import user_directories
from runtimed.core.config import Flags, Settings

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the process was asked to do. Paths are absolute."""

    config_path: str
    config_explicit: bool
    config_dir: str
    flags: Flags
    defaults: Settings
    validate: bool
    # With --validate: the documents to read instead, the main file first; "-" is standard input.
    files: tuple[str, ...]
    # With --validate: whether every key that is ignored is named.
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class _Places:
    config: str
    data_root: str
    exec_root: str


def parse_arguments(argv: Sequence[str], environ: Mapping[str, str], uid: int) -> Arguments:
    """Return what ``argv`` (without the program's name) asks for, with the defaults of the user ``uid``.

    Root gets /etc, /var/lib and /run; any other user the XDG directories (``XDG_CONFIG_HOME``,
    ``XDG_STATE_HOME``, ``XDG_RUNTIME_DIR``), and without a session a directory below the state directory.

    Raises:
        SystemExit: with status 2 and a usage message, as argparse does; with 0 after --help, --version.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    places = _root_places() if uid == 0 else _user_places(environ, uid)
    if given.files and not given.validate:
        parser.error("files are named with --validate only; name the configuration with --config")
    files = tuple(file if file == STDIN else os.path.abspath(file) for file in given.files)
    config = files[0] if files else os.path.abspath(given.config or places.config)
    return Arguments(
        config_path=config,
        config_explicit=given.config is not None or bool(given.files),
        config_dir=os.path.abspath(given.config_dir) if given.config_dir else f"{config}.d",
        flags=Flags(
            data_root=given.data_root,
            exec_root=given.exec_root,
            hosts=tuple(given.host),
            group=given.group,
            pidfile=given.pidfile,
            log_level=given.log_level,
            log_format=given.log_format,
            debug=True if given.debug else None,
            default_runtime=given.default_runtime,
            exec_opts=tuple(given.exec_opt),
            runtimes=tuple(given.add_runtime),
        ),
        defaults=Settings(
            data_root=places.data_root,
            exec_root=places.exec_root,
            hosts=(f"unix://{places.exec_root}/runtimed.sock",),
        ),
        validate=given.validate,
        files=files,
        verbose=given.verbose,
    )


def _root_places() -> _Places:
    return _Places("/etc/runtimed/daemon.json", "/var/lib/runtimed", "/run/runtimed")


def _user_places(environ: Mapping[str, str], uid: int) -> _Places:
    # The XDG base directory specification: a relative path is to be ignored.
    xdg = {name: path for name, path in environ.items() if name.startswith("XDG_") and path.startswith("/")}
    home = environ.get("HOME", "/")
    return _Places(
        config=f"{xdg.get('XDG_CONFIG_HOME', f'{home}/.config')}/runtimed/daemon.json",
        data_root=f"{xdg.get('XDG_STATE_HOME', f'{home}/.local/state')}/runtimed",
        exec_root=user_directories(environ, uid)[0],
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runtimed",
        description="Serve the table of this node's OCI runtimes on a Unix socket; reload it when its files change.",
        epilog="A flag wins over the drop-in directory, and that over the configuration file.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", "-v", action="version", version=f"runtimed {__version__}")
    add("--config", "--config-file", metavar="FILE", help="configuration file, in the format of dockerd's daemon.json")
    add("--config-dir", metavar="DIR", help="directory of drop-ins, *.json (default: FILE.d)")
    add("--validate", action="store_true", help="check the configuration, print what is wrong with it, and exit")
    add("--data-root", metavar="DIR", help="where generations and wrappers are kept")
    add("--exec-root", metavar="DIR", help="where run-time state is kept")
    add("-H", "--host", action="append", default=[], metavar="unix://PATH", help="socket to serve on; may be repeated")
    add("-G", "--group", metavar="GROUP", help="group that may use the socket")
    add("-p", "--pidfile", metavar="FILE", help="file to write the process id to")
    add("--add-runtime", action="append", default=[], metavar="NAME=PATH", help="add a runtime; may be repeated")
    add("--default-runtime", metavar="NAME", help="runtime that the empty name means")
    add("--exec-opt", action="append", default=[], metavar="KEY=VALUE", help="native.cgroupdriver=systemd|cgroupfs")
    add("-D", "--debug", action="store_true", help="log at level debug")
    add("-l", "--log-level", metavar="LEVEL", help="debug, info, warn, error or fatal")
    add("--log-format", metavar="FORMAT", help="text or json (default: text on a terminal, json elsewhere)")
    add("--verbose", action="store_true", help="with --validate: name every key that is ignored")
    add(
        "files",
        nargs="*",
        metavar="FILE",
        help="with --validate: the files to check, as main file and drop-ins; - is standard input",
    )
    return parser
