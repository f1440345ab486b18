"""Implements the verbs import and export, which translate the configuration of other engines.

``core.engines`` makes the translations, and only these two verbs load it. A translation that is printed has passed the
check that the daemon makes of every configuration.
"""

from __future__ import annotations

import json
import re
import sys

from runtimed.cli import verbs

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping
    from typing import Any

    from runtimed.client import Client
    from runtimed.core.engines.translation import Translation
    from runtimed.core.errors import ConfigurationRejected

ENGINES = ("docker", "containerd")
# The daemon's limit for a configuration file.
_MAX_BYTES = 16 * 1024 * 1024
_STDIN = "-"
_TEMPLATE = "the file is a Go template, import the config.toml that is made from it"
# The end of every message of tomllib; only Python 3.14 has attributes for it.
_TOML_PLACE = r" \(at line (\d+), column (\d+)\)\Z"


def import_configuration(_client: Client, args: Namespace) -> int:
    """Print another engine's configuration as a drop-in, and notes on stderr."""
    from runtimed.core.config import Source  # noqa: PLC0415 - the daemon's code, which other verbs do not need
    from runtimed.core.engines.from_containerd import read_containerd  # noqa: PLC0415
    from runtimed.core.engines.from_docker import read_docker  # noqa: PLC0415
    from runtimed.core.errors import ConfigurationRejected  # noqa: PLC0415

    name = "stdin" if args.file == _STDIN else args.file
    try:
        data = _read(args.file)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        verbs.fail(f"{name} cannot be read: {reason}", "name a file that you may read, or - for standard input")
        return verbs.NO_DAEMON
    renames = dict(args.rename)
    try:
        if args.engine == "docker":
            translation = read_docker(Source(name, data), renames)
        else:
            translation = read_containerd(_decode_toml(name, data), name, _toml, renames)
    except ConfigurationRejected as exc:
        return _refuse(name, exc, args)
    return _show(translation, _json, args)


def export_configuration(client: Client, args: Namespace) -> int:
    """Print the table as another engine's configuration, and notes on stderr."""
    if args.engine == "docker" and args.config_version is not None:
        verbs.complain("runtimectl: --config-version is for containerd; daemon.json has no versions")
        return verbs.USAGE
    from runtimed.core.engines.to_containerd import write_containerd  # noqa: PLC0415 - as above
    from runtimed.core.engines.to_docker import write_docker  # noqa: PLC0415

    table = client.runtimes()
    if args.engine == "docker":
        return _show(write_docker(table), _json, args)
    return _show(write_containerd(table, int(args.config_version or 2)), _toml, args)


def _read(path: str) -> bytes:
    with open(0 if path == _STDIN else path, "rb", closefd=path != _STDIN) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes, the limit for a configuration")
    return data


def _decode_toml(name: str, data: bytes) -> dict[str, Any]:
    """Return the value of a TOML document.

    Raises:
        ConfigurationRejected: the document is not valid.
    """
    import tomllib  # noqa: PLC0415 - as above

    from runtimed.core.errors import ConfigurationRejected, Problem  # noqa: PLC0415

    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        problem = Problem(f"byte 0x{data[exc.start]:02x} is not UTF-8, which TOML requires", name, line)
    except tomllib.TOMLDecodeError as exc:
        where = re.search(_TOML_PLACE, str(exc))
        line_and_column = map(int, where.groups()) if where is not None else ()
        # k3s and RKE2 have one.
        found = f"{_TEMPLATE}; " if b"{{" in data else ""
        problem = Problem(f"not valid TOML: {found}{re.sub(_TOML_PLACE, '', str(exc))}", name, *line_and_column)
    except RecursionError:
        problem = Problem("the document is nested deeper than any configuration is", name)
    raise ConfigurationRejected((problem,))


def _json(document: Mapping[str, object]) -> str:
    # ASCII only: valid in every locale, and safe for a terminal.
    return json.dumps(document, indent=2)


def _toml(document: Mapping[str, object]) -> str:
    import tomli_w  # noqa: PLC0415 - as above

    # tomli_w escapes ESC and BEL, but not the C1 controls and the marks that turn the direction of writing. They can
    # only be in basic strings, where TOML takes escapes.
    text = tomli_w.dumps(document)
    return "".join(c if c.isprintable() or c == "\n" else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - as TOML has it


def _show(translation: Translation, render: Callable[[Mapping[str, object]], str], args: Namespace) -> int:
    if args.json:
        verbs.print_json({"document": translation.document, "remarks": _remarks(translation), "problems": []})
        return verbs.OK
    verbs.print_utf8(render(translation.document).rstrip("\n"))
    # The document first, also where both streams lead to one file.
    sys.stdout.flush()
    for remark in translation.remarks:
        verbs.complain(f"note: {remark}")
    return verbs.OK


def _remarks(found: Translation | ConfigurationRejected) -> list[dict[str, object]]:
    return [
        {"file": each.file, "line": each.line, "place": each.pointer, "message": each.message} for each in found.remarks
    ]


def _refuse(name: str, rejection: ConfigurationRejected, args: Namespace) -> int:
    if args.json:
        problems = [problem.as_dict() for problem in rejection.problems]
        verbs.print_json({"document": None, "remarks": _remarks(rejection), "problems": problems})
    for remark in rejection.remarks:
        verbs.complain(f"note: {remark}")
    for problem in rejection.problems:
        verbs.complain(problem)
    if rejection.omitted:
        verbs.complain(f"and {rejection.omitted} more problems")
    hint = "change a copy of the file and import that; --rename OLD=NEW gives a runtime another name"
    verbs.fail(f"{name} cannot be translated", hint)
    return verbs.REFUSED
