"""Implements the verbs import and export, which translate the configuration of engines.

``core.engines`` makes the translations. An imported configuration has passed the check that the daemon makes of every
configuration.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping

from runtimed.cli import verbs
from runtimed.client import Client
from runtimed.core import engines
from runtimed.core.configuration.inputs import Source
from runtimed.core.engines.engine import Engine, ExportOptions, Original
from runtimed.core.engines.syntax import render_json
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import ConfigurationRejected, Problem

# The daemon's limit for a configuration file.
_MAX_BYTES = 16 * 1024 * 1024
_STDIN = "-"


def import_configuration(_client: Client, args: Namespace) -> int:
    """Print an engine's configuration as a drop-in, and notes on stderr."""
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
        hint = "change a copy of the file and import that; --rename OLD=NEW gives a runtime another name"
        return _refuse(args, exc, {"document": None}, f"{name} cannot be translated", hint)
    return _show(translation, render_json, args)


def export_configuration(client: Client, args: Namespace) -> int:
    """Print the table as an engine's configuration, or write it where the engine reads it; notes on stderr."""
    if args.engine != "containerd" and args.config_version is not None:
        verbs.complain(f"runtimectl: --config-version is for containerd; the file of {args.engine} has no versions")
        return verbs.USAGE
    if args.engine != "kubernetes" and args.node_selector:
        verbs.complain(f"runtimectl: --node-selector is for kubernetes; {args.engine} schedules no pods")
        return verbs.USAGE
    version = None if args.config_version is None else int(args.config_version)
    options = ExportOptions(version, args.node_selector)
    engine = engines.load_engine(args.engine)
    if args.write:
        return _write_files(client, args, engine, options)
    return _show(engine.write(client.runtimes(), options), engine.render, args)


def _write_files(client: Client, args: Namespace, engine: Engine, options: ExportOptions) -> int:
    """Write the files of an engine, and print their paths; notes are on stderr."""
    from runtimed.cli.engine_files import write_engine  # noqa: PLC0415 - only this option needs it

    if engine.writing is None:
        text = f"--write is for engines that read a file on this node, and {args.engine} reads none"
        verbs.fail(text, f"use: runtimectl export {args.engine} | kubectl apply -f -")
        return verbs.USAGE
    try:
        result = write_engine(args.engine, client.runtimes(), options)
    except ConfigurationRejected as rejection:
        document: dict[str, object] = {"written": [], "unchanged": [], "takes_effect": None}
        hint = "the file on the node is as it was; runtimectl verify compares the engine with the table"
        return _refuse(args, rejection, document, f"the files of {args.engine} are not written", hint)
    takes_effect = engine.asking.takes_effect if engine.asking is not None else None
    if args.json:
        document = {"written": result.written, "unchanged": result.unchanged, "takes_effect": takes_effect}
        verbs.print_json({**document, "remarks": _as_dicts(result.remarks), "problems": []})
        return verbs.OK
    verbs.print_lines([f"wrote {path}" for path in result.written])
    verbs.print_lines([f"unchanged {path}" for path in result.unchanged])
    verbs.note(result.remarks)
    if result.written and takes_effect == "at once":
        verbs.note([f"{args.engine} reads the file at each command"])
    elif result.written and takes_effect is not None:
        verbs.note([f"{args.engine} follows the file after: systemctl {takes_effect} {args.engine}"])
    return verbs.OK


def _read(path: str) -> bytes:
    with open(0 if path == _STDIN else path, "rb", closefd=path != _STDIN) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes, the limit for a configuration")
    return data


def _show(translation: Translation, render: Callable[[Mapping[str, object]], str], args: Namespace) -> int:
    if args.json:
        verbs.print_json({"document": translation.document, "remarks": _as_dicts(translation.remarks), "problems": []})
        return verbs.OK
    verbs.print_utf8(render(translation.document).rstrip("\n"))
    verbs.note(translation.remarks)
    return verbs.OK


def _refuse(
    args: Namespace, rejection: ConfigurationRejected, document: Mapping[str, object], error: str, hint: str
) -> int:
    """Print the problems and remarks, with ``document`` if JSON is printed."""
    if args.json:
        problems = [problem.as_dict() for problem in rejection.problems]
        verbs.print_json({**document, "remarks": _as_dicts(rejection.remarks), "problems": problems})
    else:
        verbs.note(rejection.remarks)
    for problem in rejection.problems:
        verbs.complain(problem)
    if rejection.omitted:
        verbs.complain(f"and {rejection.omitted} more problems")
    verbs.fail(error, hint)
    return verbs.REFUSED


def _as_dicts(remarks: Iterable[Problem]) -> list[dict[str, object]]:
    return [{"file": each.file, "line": each.line, "place": each.pointer, "message": each.message} for each in remarks]
