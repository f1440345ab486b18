"""Defines the verbs that work with engines, and their arguments and help texts.

The modules of these verbs load the daemon's code, so each is loaded when its verb is called.
"""

from __future__ import annotations

import argparse

from runtimed.cli import arguments
from runtimed.core.engines import NAMES
from runtimed.core.message_text import printable

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from runtimed.cli.parser import Parser
    from runtimed.client import Client

_NOTES = "Notes on stderr list everything that is left out or changed"


def import_configuration(client: Client, args: argparse.Namespace) -> int:
    """Print an engine's configuration as a drop-in."""
    from runtimed.cli.translate import import_configuration as verb  # noqa: PLC0415 - see above

    return verb(client, args)


def export_configuration(client: Client, args: argparse.Namespace) -> int:
    """Print or write the table as an engine's configuration."""
    from runtimed.cli.translate import export_configuration as verb  # noqa: PLC0415 - see above

    return verb(client, args)


def verify(client: Client, args: argparse.Namespace) -> int:
    """Show whether engines follow the table."""
    from runtimed.cli.verify import verify as verb  # noqa: PLC0415 - see above

    return verb(client, args)


def sync(client: Client, args: argparse.Namespace) -> int:
    """Keep an engine in step with the table."""
    from runtimed.cli.sync import sync as verb  # noqa: PLC0415 - see above

    return verb(client, args)


def test(client: Client, args: argparse.Namespace) -> int:
    """Test runtimes with a tiny container."""
    from runtimed.cli.proof import test as verb  # noqa: PLC0415 - see above

    return verb(client, args)


def add_import(parser: Parser) -> None:
    """Add the arguments of import."""
    text = (
        "docker: a daemon.json; containerd: a config.toml, of which the runtimes of the CRI plugin are taken; podman: "
        f"a containers.conf; crio: a crio.conf. {_NOTES}"
    )
    parser.add_argument("engine", choices=NAMES, help=text)
    parser.add_argument("file", metavar="FILE", help="its configuration; - is standard input")
    text = "give a runtime another name, for example one that is reserved; may be repeated"
    parser.add_argument("--rename", metavar="OLD=NEW", action="append", type=_rename, default=[], help=text)


def add_export(parser: Parser) -> None:
    """Add the arguments of export."""
    text = (
        "docker: the runtimes of a daemon.json, for dockerd 24.0 and later; containerd, podman, crio: a drop-in; "
        f"kubernetes: RuntimeClass objects; nfd: a file for Node Feature Discovery. {_NOTES}"
    )
    parser.add_argument("engine", choices=NAMES, help=text)
    text = "put the files where the engine reads them, once its own check accepts them, and print their paths"
    parser.add_argument("--write", action="store_true", help=text)
    text = (
        "for containerd: the version of its configuration (default: with --write, the one that the containerd of this "
        "node reads, else 2, which 1.x and 2.x read; 3 is for 2.0, 4 for 2.3 and later)"
    )
    parser.add_argument("--config-version", choices=("2", "3", "4"), help=text)
    text = "for kubernetes: schedule the pods of a runtime to nodes with its label, which the file for nfd gives them"
    parser.add_argument("--node-selector", action="store_true", help=text)


def add_verify(parser: Parser) -> None:
    """Add the arguments of verify."""
    text = "one engine (default: all that run here); it is an error if it does not run"
    parser.add_argument("engine", nargs="?", choices=NAMES, help=text)


def add_sync(parser: Parser) -> None:
    """Add the arguments of sync."""
    text = "the engine; docker gets SIGHUP if it has to read its file again, and no engine is restarted"
    parser.add_argument("engine", choices=NAMES, help=text)


def add_test(parser: Parser) -> None:
    """Add the arguments of test."""
    names = parser.add_mutually_exclusive_group(required=True)
    names.add_argument("name", nargs="?", metavar="NAME", help="the runtime")
    names.add_argument("--all", action="store_true", help="test each runtime of the table that this node has")
    text = (
        "direct: by the command line of the OCI runtime (default for a runtime with a path and for runc's shim); "
        "containerd: by its API (default for all other shims)"
    )
    parser.add_argument("--engine", choices=("direct", "containerd"), help=text)
    text = "the longest time for each step: create, start, wait, delete (default: 30)"
    parser.add_argument("--timeout", type=arguments.seconds, default=30.0, metavar="SECONDS", help=text)


def _rename(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if old and new:
        return old, new
    raise argparse.ArgumentTypeError(f"{printable(repr(text))} is not of the form OLD=NEW")
