"""Parses the command line of runtimed, which has dockerd's flags, and finds the user's default paths."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Any

from runtimed import __version__
from runtimed.client.socket_path import user_directories
from runtimed.core.config import SETTINGS, Config, Settings
from runtimed.core.configuration.inputs import Flags

STDIN = "-"
_FLAGS = tuple(setting for setting in SETTINGS.values() if setting.usage)


@dataclass(frozen=True, slots=True)
class Arguments:
    """The parsed command line. Paths are absolute."""

    config_path: str
    config_explicit: bool
    config_dir: str
    flags: Flags
    defaults: Settings
    validate: bool
    # With --validate: the documents to read instead, the main file first; "-" is standard input.
    files: tuple[str, ...]
    # With --validate: whether to name every key that is ignored.
    verbose: bool = False


def parse_arguments(argv: Sequence[str], environ: Mapping[str, str], uid: int) -> Arguments:
    """Return the arguments in ``argv`` (without the program's name), with the default paths of the user ``uid``.

    Root gets /etc, /var/lib and /run; any other user the XDG directories (``XDG_CONFIG_HOME``,
    ``XDG_STATE_HOME``, ``XDG_RUNTIME_DIR``), and without a session a directory below the state directory.

    Raises:
        SystemExit: with status 2 and a usage message, as argparse does; with 0 after --help, --version.
    """
    config_file, data_root, exec_root = _default_paths(environ, uid)
    defaults = Settings(data_root, exec_root, (f"unix://{exec_root}/runtimed.sock",))
    parser = make_parser(Config(config_file, defaults, {}))
    given = parser.parse_args(argv)
    if given.files and not given.validate:
        parser.error("files are named with --validate only; name the configuration with --config")
    settings = {s.key: value for s in _FLAGS if (value := getattr(given, s.key)) is not None}
    settings |= {key: tuple(value) for key, value in settings.items() if isinstance(value, list)}
    files = tuple(file if file == STDIN else os.path.abspath(file) for file in given.files)
    config = files[0] if files else os.path.abspath(given.config or config_file)
    return Arguments(
        config_path=config,
        config_explicit=given.config is not None or bool(given.files),
        config_dir=os.path.abspath(given.config_dir) if given.config_dir else f"{config}.d",
        flags=Flags(MappingProxyType(settings), tuple(given.add_runtime)),
        defaults=defaults,
        validate=given.validate,
        files=files,
        verbose=given.verbose,
    )


def _default_paths(environ: Mapping[str, str], uid: int) -> tuple[str, str, str]:
    """Return the configuration file, the data root and the exec root of the user ``uid``."""
    if uid == 0:
        return "/etc/runtimed/daemon.json", "/var/lib/runtimed", "/run/runtimed"
    # The XDG base directory specification: a relative path is to be ignored.
    xdg = {name: path for name, path in environ.items() if name.startswith("XDG_") and path.startswith("/")}
    home = environ.get("HOME", "/")
    return (
        f"{xdg.get('XDG_CONFIG_HOME', f'{home}/.config')}/runtimed/daemon.json",
        f"{xdg.get('XDG_STATE_HOME', f'{home}/.local/state')}/runtimed",
        user_directories(environ, uid)[0],
    )


def make_parser(defaults: Config) -> argparse.ArgumentParser:
    """Return the parser, whose help shows ``defaults``."""
    parser = argparse.ArgumentParser(
        prog="runtimed",
        description="Serve the table of this node's OCI runtimes on a Unix socket; reload it when its files change.",
        epilog="A flag wins over the drop-in directory, and that over the configuration file.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", "-v", action="version", version=f"runtimed {__version__}")
    add(
        "--config",
        "--config-file",
        metavar="FILE",
        help=f"configuration file, in the format of dockerd's daemon.json (default: {_quoted(defaults.path)})",
    )
    add("--config-dir", metavar="DIR", help="directory of drop-ins, *.json (default: FILE.d)")
    add("--validate", action="store_true", help="check the configuration, print its problems, and exit")
    for setting in _FLAGS:
        shape: dict[str, Any] = {"action": "store_true"}
        if setting.metavar:
            shape = {"action": "append" if setting.repeatable else "store", "metavar": setting.metavar}
        default: Any = reduce(getattr, setting.attributes, defaults)
        shown = _quoted(default[0] if isinstance(default, tuple) else default)
        text = f"{setting.help} (default: {shown})" if default else setting.help
        add(*setting.flags, dest=setting.key, default=None, help=text, **shape)
    add("--add-runtime", action="append", default=[], metavar="NAME=PATH", help="add a runtime; may be repeated")
    add("--verbose", action="store_true", help="with --validate: name every key that is ignored")
    add(
        "files",
        nargs="*",
        metavar="FILE",
        help="with --validate: the files to check, as main file and drop-ins; - is standard input",
    )
    return parser


def _quoted(text: object) -> str:
    """Return ``text`` as argparse prints it unchanged in a help text."""
    return str(text).replace("%", "%%")
