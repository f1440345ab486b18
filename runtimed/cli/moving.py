"""Moving in and out: what another engine's configuration says as a drop-in, and the table as another engine's.

The translations are the daemon's own (``core.exchange``), loaded by these two verbs alone; what they print has
passed the check that the daemon makes of every configuration.
"""

from __future__ import annotations

import argparse
import re
import sys

from runtimed.cli import verbs
from runtimed.cli.tables import printable

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runtimed.client import Client
    from runtimed.core.engines.translation import Translation

    Add = Callable[..., argparse.ArgumentParser]

_ENGINES = ("docker", "containerd")
# What the daemon takes for a configuration file at most.
_MAX_BYTES = 16 * 1024 * 1024
_STDIN = "-"
_EPILOG = """\
example:
  {example}

What the translation does not say, or says otherwise, is told on stderr.

exit status:
  0  done, also with something told on stderr
  1  {refused}
  2  {unable}; or a usage error
"""
# How tomllib has said where since it is there; from Python 3.14 on there are attributes as well.
_TOML_PLACE = r" \(at line (\d+), column (\d+)\)\Z"


def add_import(add: Add, name: str) -> None:
    """Add ``import`` to the command line."""
    text = "print the drop-in that says the same as another engine's configuration"
    # A name with a dot first: the shell empties the file before there is anything in it, and the daemon is watching.
    example = (
        "cd /etc/runtimed/daemon.json.d &&\n"
        "  runtimectl import docker /etc/docker/daemon.json > .new && mv .new 50-docker.json"
    )
    made = add(name, import_configuration, text, example)
    text = (
        "docker: a daemon.json; containerd: a config.toml of version 2 or 3, of which the runtimes of the CRI plugin "
        "are taken"
    )
    made.add_argument("engine", choices=_ENGINES, help=text)
    made.add_argument("file", metavar="FILE", help="its configuration; - is standard input")
    made.epilog = _EPILOG.format(
        example=example,
        refused="the file is not valid, or runtimed cannot be told what it says",
        unable="the file cannot be read",
    )
    text = "give a runtime another name, one that is reserved say; may be repeated"
    made.add_argument("--rename", metavar="OLD=NEW", action="append", type=_rename, default=[], help=text)


def add_export(add: Add, name: str) -> None:
    """Add ``export`` to the command line."""
    text = "print another engine's configuration for the daemon's table"
    example = "runtimectl export containerd > /etc/containerd/conf.d/runtimed.toml"
    made = add(name, export_configuration, text, example)
    made.epilog = _EPILOG.format(
        example=example,
        refused="the daemon said no",
        unable="no daemon answers, or it must not be trusted",
    )
    text = (
        "docker: what daemon.json says of runtimes, for dockerd 24.0 and later; containerd: a file for the imports of "
        "config.toml"
    )
    made.add_argument("engine", choices=_ENGINES, help=text)
    text = "for containerd: the layout (default: 2, which containerd 1.x and 2.x take; 3 is for 2.x alone)"
    made.add_argument("--config-version", choices=("2", "3"), help=text)


def import_configuration(_client: Client, args: argparse.Namespace) -> int:
    """Print a drop-in, and on stderr what the file says besides."""
    from runtimed.core.config import Source  # noqa: PLC0415 - the daemon's half, of use to these verbs alone
    from runtimed.core.engines.from_containerd import read_containerd  # noqa: PLC0415
    from runtimed.core.engines.from_docker import read_docker  # noqa: PLC0415
    from runtimed.core.errors import ConfigurationRejected  # noqa: PLC0415

    name = "stdin" if args.file == _STDIN else args.file
    try:
        data = _read(args.file)
    except (OSError, ValueError) as exc:
        verbs.complain(printable(f"runtimectl: {name} cannot be read: {getattr(exc, 'strerror', None) or exc}"))
        verbs.complain("hint: name a file that you may read, or - for standard input")
        return verbs.NO_DAEMON
    renames = dict(args.rename)
    try:
        if args.engine == "docker":
            translation = read_docker(Source(name, data), renames)
        else:
            translation = read_containerd(_decode_toml(name, data), name, _toml, renames)
    except ConfigurationRejected as exc:
        return _refuse(name, exc, args)
    return _say(translation, _json, args)


def export_configuration(client: Client, args: argparse.Namespace) -> int:
    """Print another engine's configuration, and on stderr what it cannot say."""
    if args.engine == "docker" and args.config_version is not None:
        verbs.complain("runtimectl: --config-version is for containerd; daemon.json has no versions")
        return verbs.NO_DAEMON
    from runtimed.core.engines.to_containerd import write_containerd  # noqa: PLC0415 - as above
    from runtimed.core.engines.to_docker import write_docker  # noqa: PLC0415

    table = client.runtimes()
    if args.engine == "docker":
        return _say(write_docker(table), _json, args)
    return _say(write_containerd(table, int(args.config_version or 2)), _toml, args)


def _rename(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if old and new:
        return old, new
    raise argparse.ArgumentTypeError(f"{printable(repr(text))} is not of the form OLD=NEW")


def _read(path: str) -> bytes:
    """Return the bytes of a file, or of standard input."""
    with open(0 if path == _STDIN else path, "rb", closefd=path != _STDIN) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes, and no configuration has")
    return data


def _decode_toml(name: str, data: bytes) -> dict[str, Any]:
    """Return the value of a TOML document.

    Raises:
        ConfigurationRejected: it is none.
    """
    import tomllib  # noqa: PLC0415 - of use to one form of one verb

    from runtimed.core.errors import ConfigurationRejected, Problem  # noqa: PLC0415 - as above

    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as exc:
        before = data[: exc.start].count(b"\n")
        problem = Problem(f"found byte 0x{data[exc.start]:02x}, and TOML is UTF-8", name, before + 1)
    except tomllib.TOMLDecodeError as exc:
        place = re.search(_TOML_PLACE, str(exc))
        line, column = map(int, place.groups()) if place is not None else (None, None)
        problem = Problem(f"it is no TOML: {re.sub(_TOML_PLACE, '', str(exc))}", name, line, column)
    except RecursionError:
        problem = Problem("it is nested deeper than any configuration is", name)
    raise ConfigurationRejected((problem,))


def _json(document: Mapping[str, object]) -> str:
    import json  # noqa: PLC0415 - the client has loaded it by now

    # ASCII alone: right whatever the locale is, and nothing in it that a terminal would obey.
    return json.dumps(document, indent=2)


def _toml(document: Mapping[str, object]) -> str:
    import tomli_w  # noqa: PLC0415 - of use to one form of one verb

    # It escapes ESC and BEL, but leaves the C1 controls and the marks that turn the direction of writing. Whatever is
    # not printable is in a basic string here, where TOML takes it escaped.
    text = tomli_w.dumps(document)
    return "".join(c if c.isprintable() or c == "\n" else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - as TOML has it


def _say(translation: Translation, render: Callable[[Mapping[str, object]], str], args: argparse.Namespace) -> int:
    remarks = [remark.as_dict() for remark in translation.remarks]
    if args.json:
        verbs.say_json({"document": translation.document, "remarks": remarks, "problems": []})
        return verbs.OK
    if sys.stdout is not None:
        # The document is in UTF-8, whatever the locale is.
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a TextIOWrapper
    verbs.say([render(translation.document).rstrip("\n")])
    if sys.stdout is not None:
        sys.stdout.flush()
    for remark in translation.remarks:
        verbs.complain(f"note: {remark}")
    return verbs.OK


def _refuse(name: str, rejection: Any, args: argparse.Namespace) -> int:
    # What is no document at all has no remarks.
    told = getattr(rejection, "told", ())
    if args.json:
        problems = [problem.as_dict() for problem in rejection.problems]
        verbs.say_json({"document": None, "remarks": [each.as_dict() for each in told], "problems": problems})
    for remark in told:
        verbs.complain(f"note: {remark}")
    for problem in rejection.problems:
        verbs.complain(str(problem))
    if rejection.untold:
        verbs.complain(f"and {rejection.untold} more problems")
    verbs.complain(printable(f"runtimectl: {name} cannot be translated"))
    verbs.complain("hint: change a copy of it and import that; --rename OLD=NEW gives a runtime another name")
    return verbs.REFUSED
