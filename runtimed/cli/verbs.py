"""Implements the verbs of runtimectl: each sends a request, prints the response and returns the exit status."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from runtimed import __version__
from runtimed.cli.render import (
    render_collection,
    render_problem,
    render_report,
    render_resolution,
    render_runtimes,
    render_status,
)
from runtimed.cli.tables import Document, render_fields
from runtimed.cli.terminal import Terminal
from runtimed.client import Client, Refused
from runtimed.core.message_text import printable

Verb = Callable[[Client, Namespace], int]
Render = Callable[[Document, Terminal], Iterable[str]]

OK = 0
REFUSED = 1
NO_DAEMON = USAGE = 2
CHANGES = 3

# Reloads and collections wait for running ones, for slow disks and for network file systems.
_WORK_S = 60.0
_STORE_HINT = (
    "the configuration is valid; the daemon retries every 25 s, generation {generation} stays in use until then"
)
_CONFIGURATION_HINT = "fix the file; the previous configuration stays in effect"
_PROOF_HINT = "the message has the command to run; the previous configuration stays in effect"
# As runtimed.core.proof.requirement says it.
_PROOF_EXPECTED = "a proved runtime"


def resolve(client: Client, args: Namespace) -> int:
    """Show the resolution of a name, for people or in the format of another program."""
    resolution = client.resolve(args.name, args.generation, args.digest)
    if args.format == "path":
        return _print_as(args.format, client.explain(resolution["runtime"]), client.socket)
    if args.format is not None:
        status = _print_as(args.format, resolution, client.socket)
    else:
        status = _show(render_resolution, resolution, args)
    if resolution.get("from") == "file":
        number = resolution["generation"]
        note([f"no daemon responds on {client.socket}; this is generation {number} of the table file, table.json"])
    return status


def explain(client: Client, args: Namespace) -> int:
    """Show how a name resolves, and why."""
    from runtimed.cli.containers import list_containers  # noqa: PLC0415 - only a few verbs need it
    from runtimed.cli.explain import render_description  # noqa: PLC0415 - only one verb needs it

    runtime = client.explain(args.name)
    if args.json:
        return _show(render_description, runtime, args)
    try:
        containers = list_containers(client.containers(), args.name)
    except Refused as exc:
        containers = [("containers", f"unknown: {exc}")]
    return _show(partial(render_description, containers=containers), runtime, args)


def list_runtimes(client: Client, args: Namespace) -> int:
    """Show the table."""
    return _show(render_runtimes, client.runtimes(), args)


def containers(client: Client, args: Namespace) -> int:
    """Show the containers that have a pin."""
    from runtimed.cli.containers import render_containers  # noqa: PLC0415 - as above

    return _show(render_containers, client.containers(), args)


def status(client: Client, args: Namespace) -> int:
    """Show the status of the daemon."""
    found = client.status()
    _show(partial(render_status, now_s=time.time()), found, args)
    return OK if found["health"]["status"] == "ok" else REFUSED


def reload(client: Client, args: Namespace) -> int:
    """Reload, or plan a reload, and show the report."""
    # The watcher has usually applied an edit before a person asks for a reload.
    before = None if args.json or args.dry_run else client.status()["last_reload"]
    render = partial(render_report, verbose=args.verbose, before=before, now_s=time.time())
    report = _reload(client, args, render, dry_run=args.dry_run)
    return REFUSED if report["outcome"] == "rejected" else OK


def plan(client: Client, args: Namespace) -> int:
    """Show the changes that a reload would make."""
    from runtimed.cli.generations import render_last_change, render_plan  # noqa: PLC0415 - only a few verbs need it

    outcome = _reload(client, args, partial(render_plan, verbose=args.verbose), dry_run=True)["outcome"]
    if outcome == "unchanged" and not args.json:
        # As for reload.
        print_lines(render_last_change(client.status()["last_reload"], time.time()))
    if outcome == "applied" and args.exit_code:
        return CHANGES
    return REFUSED if outcome == "rejected" else OK


def generations(client: Client, args: Namespace) -> int:
    """Show the retained generations."""
    from runtimed.cli.generations import render_generations  # noqa: PLC0415 - as above

    return _show(render_generations, client.generations(), args)


def history(client: Client, args: Namespace) -> int:
    """Tell the changes of the table, and the events that are kept with them."""
    from runtimed.cli.history import render_history  # noqa: PLC0415 - as above

    return _show(render_history, client.history(args.since), args)


def diff(client: Client, args: Namespace) -> int:
    """Show the differences between two generations."""
    from runtimed.cli.generations import has_changes, render_diff  # noqa: PLC0415 - as above

    found = client.diff(args.old, args.new)
    _show(render_diff, found, args)
    return CHANGES if args.exit_code and has_changes(found) else OK


def gc(client: Client, args: Namespace) -> int:
    """Collect wrappers, or plan it, and show the verdict on each."""
    client.timeout_s = max(client.timeout_s, _WORK_S)
    collection = client.gc(dry_run=args.dry_run)
    _show(render_collection, collection, args)
    for source in () if args.json else collection["unknown"]:
        complain(f"warning: references to wrappers are not known completely: {source}")
    return OK


def check(_client: Client, args: Namespace) -> int:
    """Replace this process with the daemon's offline check, so that both always give the same result."""
    # -P: never import what lies in the current directory, least of all as root.
    command = [sys.executable, "-P", "-m", "runtimed", "--validate"]
    if args.json:
        command += ["--log-format", "json"]
    if args.verbose:
        command.append("--verbose")
    sys.stdout.flush()
    try:
        os.execv(sys.executable, [*command, "--", *args.files])  # noqa: S606 - no shell is the point
    except (OSError, ValueError) as exc:
        complain(f"runtimectl: {sys.executable} cannot be executed: {exc}")
        return REFUSED


def watch(client: Client, args: Namespace) -> int:
    """Show events, a line each, until interrupted."""
    from runtimed.cli.watch import render_event  # noqa: PLC0415 - only one verb needs it

    for event in client.watch(args.since):
        if args.json:
            print_json(event)
        elif (line := render_event(event, args.terminal)) is not None:
            print_lines([line])
        sys.stdout.flush()
    return OK


def metrics(client: Client, args: Namespace) -> int:
    """Print the metrics, or write them to a file for node-exporter."""
    from runtimed.cli.metrics import metrics as verb  # noqa: PLC0415 - only one verb needs it

    return verb(client, args)


def version(client: Client, args: Namespace) -> int:
    """Show the versions of runtimectl and of the daemon."""
    if not args.json:
        print_lines([f"runtimectl  {__version__}"])
    daemon = client.status()
    if args.json:
        print_json({"runtimectl": __version__, "runtimed": daemon["version"], "pid": daemon["pid"]})
    else:
        print_lines(render_fields([("runtimed  ", f"{daemon['version']}, process {daemon['pid']} on {client.socket}")]))
    return OK


def completion(_client: Client, args: Namespace) -> int:
    """Print the completion script of a shell."""
    with open(f"{os.path.dirname(__file__)}/completions/runtimectl.{args.shell}", encoding="utf-8") as script:
        print_lines([script.read().rstrip("\n")])
    return OK


def print_lines(lines: Iterable[str]) -> None:
    """Print ``lines`` with one call."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def print_utf8(text: str) -> None:
    """Print ``text``, which is for another program, in UTF-8 whatever the locale is."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a TextIOWrapper
    print_lines([text])


def print_json(document: Mapping[str, object]) -> None:
    """Print ``document`` on one line."""
    print_lines([json.dumps(document, separators=(",", ":"))])


def complain(line: object) -> None:
    """Print ``line`` on stderr, with everything escaped that a terminal would obey."""
    sys.stderr.write(f"{printable(line)}\n")


def note(remarks: Iterable[object]) -> None:
    """Print ``remarks`` on stderr, after the output so far, also where both streams lead to one file."""
    sys.stdout.flush()
    for remark in remarks:
        complain(f"note: {remark}")


def fail(error: object, hint: str) -> None:
    """Print an error and its remedy on stderr."""
    complain(f"runtimectl: {error}")
    complain(f"hint: {hint}")


def _show(render: Render, document: Document, args: Namespace) -> int:
    if args.json:
        print_json(document)
    else:
        print_lines(render(document, args.terminal))
    return OK


def _print_as(form: str, document: Document, socket: str) -> int:
    """Print a resolution, or for a path the description of a runtime, in the format of another program."""
    from runtimed.cli import formats  # noqa: PLC0415 - only one verb needs it

    renders = {"ctr": formats.render_ctr, "nerdctl": formats.render_nerdctl}
    render = {**renders, "any": formats.render_any, "path": formats.render_path}[form]
    try:
        print_utf8(render(document))
    except formats.FormatUnavailable as exc:
        fail(f"{exc} (socket {socket})", exc.hint)
        return REFUSED
    return OK


def _reload(client: Client, args: Namespace, render: Render, *, dry_run: bool) -> Document:
    """Return the report of a reload, after it was shown."""
    client.timeout_s = max(client.timeout_s, _WORK_S)
    report = client.reload(dry_run=dry_run)
    if report["outcome"] != "rejected" or args.json:
        _show(render, report, args)
        return report
    for problem in report["problems"]:
        complain(render_problem(problem))
    if (more := report["problem_count"] - len(report["problems"])) > 0:
        complain(f"and {more} more problems")
    unproved = any(problem["expected"] == _PROOF_EXPECTED for problem in report["problems"])
    hint = _STORE_HINT if report["cause"] == "store" else _PROOF_HINT if unproved else _CONFIGURATION_HINT
    fail(f"{render_report(report)[0]} (socket {client.socket})", hint.format(generation=report["generation"]))
    return report
