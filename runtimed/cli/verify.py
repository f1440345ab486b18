"""Implements the verb verify, which asks the engines of this node whether they follow the table."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from runtimed.cli import verbs
from runtimed.cli.engine_files import inspect_file
from runtimed.cli.engine_node import EngineNode
from runtimed.cli.tables import fits, render_fields, render_line, render_table
from runtimed.cli.terminal import GREEN, RED, YELLOW, Terminal, Tinted
from runtimed.client import Client
from runtimed.core import engines
from runtimed.core.engines import verification
from runtimed.core.engines.engine import Asking, Document, Engine, ExportOptions, NoAnswer, Table, View
from runtimed.core.engines.verification import Difference, Verification, compare_views
from runtimed.core.shapes.daemon import EngineState
from runtimed.host.engines.processes import hang_up
from runtimed.host.engines.questions import ask

_COLOURS = {"follows": GREEN, "differs": RED, "not-told": YELLOW, "not-running": YELLOW, "unknown": YELLOW}
# Shown for the value of a difference that is None.
_NONE = "none"


def verify(client: Client, args: Namespace) -> int:
    """Show whether an engine, or each engine that runs here, follows the table."""
    if args.engine is not None and not _is_on_node(engines.load_engine(args.engine)):
        text = f"{args.engine} has no file and no process on this node to verify"
        verbs.fail(text, f"use: runtimectl export {args.engine} | kubectl diff -f -")
        return verbs.USAGE
    table = client.runtimes()
    names = (
        [args.engine]
        if args.engine is not None
        else [name for name in engines.NAMES if _is_on_node(engines.load_engine(name))]
    )
    found = [verify_engine(name, table) for name in names]
    if args.engine is None:
        found = [each for each in found if each["state"] != "not-running"]
    if args.json:
        verbs.print_json({"generation": table["generation"], "engines": found})
    else:
        verbs.print_lines(_render(found, args.terminal))
    return verbs.OK if all(each["state"] == "follows" for each in found) else verbs.REFUSED


def verify_engine(name: str, table: Table) -> Verification:
    """Return whether the engine ``name`` follows ``table``."""
    return verify_with(EngineNode(name, engines.load_engine(name)), table)


def hang_up_engine(name: str) -> bool:
    """Have the engine ``name`` read its file again, by SIGHUP; return whether it runs.

    Raises:
        OSError: this user may not send it a signal.
    """
    process = EngineNode(name, engines.load_engine(name)).find_process({})
    return process is not None and hang_up(process)


def verify_with(node: EngineNode, table: Table) -> Verification:
    """Return whether the engine of ``node`` follows ``table``."""
    engine, asking, options = node.engine, node.engine.asking, ExportOptions()
    file, plan = (None, None) if engine.writing is None else inspect_file(node, table, options)
    document = plan.document if plan is not None else None
    if document is None:
        document = engine.write(table, options).document
    process = node.find_process(document)
    started_s = None if process is None else process.started_s
    running = verification.RunningEngine(node.name, None if asking is None else asking.takes_effect, started_s)
    of_file = [] if file is None else verification.compare_files(file)
    if asking is not None and asking.process is not None and process is None:
        detail = f"there is no process {asking.process} on this node"
        return verification.make_verification(running, file, "not-running", detail, of_file)
    if process is None and file is not None and not file.installed:
        return verification.make_verification(running, file, "not-running", str(file.refusals[0]))
    expected = View(None, {}) if asking is None else asking.expected(document)
    try:
        differences = None if asking is None else _ask(node, asking, document, expected, table)
    except NoAnswer as error:
        state: EngineState = "not-running" if error.missing else "unknown"
        return verification.make_verification(running, file, state, str(error), of_file)
    return verification.verify(running, file, differences, expected.unasked)


def _is_on_node(engine: Engine) -> bool:
    return engine.writing is not None or engine.asking is not None


def _ask(node: EngineNode, asking: Asking, document: Document, expected: View, table: Table) -> list[Difference]:
    """Return the differences between the table and the answers of an engine. Raises: NoAnswer."""
    answers = {key: ask(question, node.output) for key, question in asking.questions(document).items()}
    try:
        answered = asking.answered(answers)
    except ValueError as error:
        raise NoAnswer(f"its answer is not understood: {error}") from error
    return compare_views(expected, answered, table)


def _render(found: Sequence[Verification], terminal: Terminal) -> list[str]:
    """Return a line for each engine and one for each difference; texts that are too wide have their own lines."""
    differences = [
        (
            each["engine"],
            one["name"] or "default runtime",
            _NONE if one["ours"] is None else one["ours"],
            _NONE if one["theirs"] is None else one["theirs"],
        )
        for each in found
        for one in each["differences"]
    ]
    lines = _render_states(found, terminal) if found else ["this node runs no engine that runtimectl can ask"]
    header = ("ENGINE", "NAME", "TABLE", "ENGINE HAS")
    if differences and fits(render_table(header, differences), terminal):
        return [*lines, "", *render_table(header, differences, terminal)]
    # A value is not cut, because the difference may be in the part that is left out.
    for engine, name, ours, theirs in differences:
        fields = [("  table", Tinted(ours, None, wraps=False)), (f"  {engine}", Tinted(theirs, None, wraps=False))]
        lines += ["", render_line(f"{engine}: {name}"), *render_fields(fields, terminal)]
    return lines


def _render_states(found: Sequence[Verification], terminal: Terminal) -> list[str]:
    states = [(each["engine"], Tinted(each["state"], _COLOURS[each["state"]])) for each in found]
    details = [each["detail"] for each in found]
    rows = [(*state, detail) for state, detail in zip(states, details, strict=True)]
    if fits(render_table(("ENGINE", "STATE", "DETAIL"), rows), terminal):
        return render_table(("ENGINE", "STATE", "DETAIL"), rows, terminal)
    first, *rest = render_table(("ENGINE", "STATE"), states, terminal)
    lines = [first]
    for line, detail in zip(rest, details, strict=True):
        lines += [line, *render_fields([("", detail)], terminal)] if detail else [line]
    return lines
