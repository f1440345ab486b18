"""Implements the verbs import and export, which translate the configuration of other engines.

``core.engines`` makes the translations, and only these two verbs load it. A translation that is printed has passed the
check that the daemon makes of every configuration.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping

from runtimed.cli import verbs
from runtimed.client import Client
from runtimed.core import engines
from runtimed.core.config import Source
from runtimed.core.engines.engine import ExportOptions, Original
from runtimed.core.engines.syntax import render_json
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import ConfigurationRejected

# The daemon's limit for a configuration file.
_MAX_BYTES = 16 * 1024 * 1024
_STDIN = "-"


def import_configuration(_client: Client, args: Namespace) -> int:
    """Print another engine's configuration as a drop-in, and notes on stderr."""
    read = engines.load_engine(args.engine).read
    if read is None:
        verbs.complain(f"runtimectl: {args.engine} has no file that could be imported")
        return verbs.USAGE
    name = "stdin" if args.file == _STDIN else args.file
    try:
        data = _read(args.file)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        verbs.fail(f"{name} cannot be read: {reason}", "name a file that you may read, or - for standard input")
        return verbs.NO_DAEMON
    try:
        translation = read(Original(Source(name, data), dict(args.rename), os.path.isfile))
    except ConfigurationRejected as exc:
        return _refuse(name, exc, args)
    return _show(translation, render_json, args)


def export_configuration(client: Client, args: Namespace) -> int:
    """Print the table as another engine's configuration, or write it where the engine reads it; notes on stderr."""
    if args.engine != "containerd" and args.config_version is not None:
        verbs.complain(f"runtimectl: --config-version is for containerd; the file of {args.engine} has no versions")
        return verbs.USAGE
    if args.engine != "kubernetes" and args.node_selector:
        verbs.complain(f"runtimectl: --node-selector is for kubernetes; {args.engine} schedules no pods")
        return verbs.USAGE
    version = None if args.config_version is None else int(args.config_version)
    options = ExportOptions(version, args.node_selector)
    if args.write:
        from runtimed.cli.engine_files import export_to_node  # noqa: PLC0415 - only this option needs it

        return export_to_node(client, args, options)
    engine = engines.load_engine(args.engine)
    return _show(engine.write(client.runtimes(), options), engine.render, args)


def _read(path: str) -> bytes:
    with open(0 if path == _STDIN else path, "rb", closefd=path != _STDIN) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes, the limit for a configuration")
    return data


def _show(translation: Translation, render: Callable[[Mapping[str, object]], str], args: Namespace) -> int:
    if args.json:
        verbs.print_json({"document": translation.document, "remarks": _remarks(translation), "problems": []})
        return verbs.OK
    verbs.print_utf8(render(translation.document).rstrip("\n"))
    verbs.note(translation.remarks)
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
