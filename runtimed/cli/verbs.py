"""What runtimectl can do: a function for each verb, which asks, prints and returns the exit status."""

from __future__ import annotations

import os
import sys
import time
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
from runtimed.cli.tables import printable, render_fields

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from runtimed.cli.terminal import Terminal
    from runtimed.client import Client

    Verb = Callable[[Client, Namespace], int]
    Render = Callable[[Mapping[str, Any], Terminal], Iterable[str]]

OK = 0
REFUSED = 1
NO_DAEMON = USAGE = 2
CHANGES = 3

# What makes the daemon work may wait for its turn, for a slow disk and for a network file system.
_WORK_S = 60.0


def resolve(client: Client, args: Namespace) -> int:
    """Show what a name resolves to, for people or as another program takes it."""
    resolution = client.resolve(args.name, args.generation, args.digest)
    if args.format is not None:
        return _say_as(args.format, resolution)
    _show(render_resolution, resolution, args)
    return OK


def explain(client: Client, args: Namespace) -> int:
    """Show what a name really is."""
    from runtimed.cli.explain import render_description  # noqa: PLC0415 - of use to one verb

    _show(render_description, client.explain(args.name), args)
    return OK


def list_runtimes(client: Client, args: Namespace) -> int:
    """Show the table."""
    _show(render_runtimes, client.runtimes(), args)
    return OK


def status(client: Client, args: Namespace) -> int:
    """Show how the daemon is."""
    found = client.status()
    _show(lambda document, terminal: render_status(document, time.time(), terminal), found, args)
    return OK if found["health"]["status"] == "ok" else REFUSED


def reload(client: Client, args: Namespace) -> int:
    """Reload, or plan it, and show the report."""
    client.timeout_s = max(client.timeout_s, _WORK_S)
    report = client.reload(dry_run=args.dry_run)
    if report["outcome"] == "rejected":
        return _say_rejection(report, args)
    _show(partial(render_report, verbose=args.verbose), report, args)
    return OK


def plan(client: Client, args: Namespace) -> int:
    """Show what a reload would change."""
    from runtimed.cli.changes import render_last_change, render_plan  # noqa: PLC0415 - of use to two verbs

    client.timeout_s = max(client.timeout_s, _WORK_S)
    report = client.reload(dry_run=True)
    if report["outcome"] == "rejected":
        return _say_rejection(report, args)
    _show(partial(render_plan, verbose=args.verbose), report, args)
    if report["outcome"] == "unchanged" and not args.json:
        # Whoever has just edited a file wonders: the watcher is faster than a person.
        say(render_last_change(client.status()["last_reload"], time.time()))
    return CHANGES if args.exit_code and report["outcome"] == "applied" else OK


def generations(client: Client, args: Namespace) -> int:
    """Show which generations are retained."""
    from runtimed.cli.history import render_generations  # noqa: PLC0415 - of use to one verb

    found = client.generations()
    _show(lambda document, terminal: render_generations(document, time.time(), terminal), found, args)
    return OK


def diff(client: Client, args: Namespace) -> int:
    """Show what differs between two generations."""
    from runtimed.cli.changes import has_changes, render_diff  # noqa: PLC0415 - of use to two verbs

    found = client.diff(args.old, args.new)
    _show(render_diff, found, args)
    return CHANGES if args.exit_code and has_changes(found) else OK


def gc(client: Client, args: Namespace) -> int:
    """Collect wrappers, or plan it, and show the verdict on each."""
    client.timeout_s = max(client.timeout_s, _WORK_S)
    collection = client.gc(dry_run=args.dry_run)
    _show(render_collection, collection, args)
    for source in () if args.json else collection["unknown"]:
        complain(f"warning: it cannot be known who refers to wrappers: {printable(source)}")
    return OK


def check(_client: Client, args: Namespace) -> int:
    """Become the daemon's own offline check, so that both always agree."""
    # -P: what lies in the current directory is not to be imported, least of all by root.
    command = [sys.executable, "-P", "-m", "runtimed", "--validate"]
    if args.json:
        command += ["--log-format", "json"]
    if args.verbose:
        command.append("--verbose")
    if sys.stdout is not None:
        sys.stdout.flush()
    try:
        os.execv(sys.executable, [*command, "--", *args.files])  # noqa: S606 - no shell is the point
    except (OSError, ValueError) as exc:
        complain(f"runtimectl: {sys.executable} cannot be executed: {exc}")
        return REFUSED


def watch(client: Client, args: Namespace) -> int:
    """Show what happens, line by line, until interrupted."""
    from runtimed.cli.watch import render_event  # noqa: PLC0415 - of use to one verb

    for event in client.watch(args.since):
        if args.json:
            say_json(event)
        elif (line := render_event(event, args.terminal)) is not None:
            say([line])
        if sys.stdout is not None:
            sys.stdout.flush()
    return OK


def version(client: Client, args: Namespace) -> int:
    """Show the versions at both ends."""
    if not args.json:
        say([f"runtimectl  {__version__}"])
    daemon = client.status()
    if args.json:
        say_json({"runtimectl": __version__, "runtimed": daemon["version"], "pid": daemon["pid"]})
    else:
        say(render_fields([("runtimed  ", f"{daemon['version']}, process {daemon['pid']} on {client.socket}")]))
    return OK


def _say_as(form: str, resolution: Mapping[str, Any]) -> int:
    """Print a resolution as another program takes it, the bytes of it in UTF-8, whatever the locale is."""
    from runtimed.cli import formats  # noqa: PLC0415 - of use to one verb

    render = {"ctr": formats.render_ctr, "any": formats.render_any, "path": formats.render_path}[form]
    try:
        line = render(resolution)
    except formats.NoSuchForm as exc:
        complain(f"runtimectl: {printable(exc)}")
        complain(f"hint: {printable(exc.hint)}")
        return REFUSED
    if sys.stdout is not None:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a TextIOWrapper
    say([line])
    if "--runc-systemd-cgroup" in line.split(" "):
        complain("note: ctr takes --runc-systemd-cgroup only with --cgroup, such as --cgroup machine.slice:ctr:ID")
    return OK


def say(lines: Iterable[str]) -> None:
    """Print ``lines`` in one go; nobody hears it where there is no stdout."""
    if sys.stdout is not None:
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def say_json(document: Mapping[str, object]) -> None:
    """Print ``document`` as it is, on one line."""
    import json  # noqa: PLC0415 - the client has loaded it by now

    say([json.dumps(document, separators=(",", ":"))])


def complain(line: str) -> None:
    """Print ``line`` on stderr, where there is one."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")


def _show(render: Render, document: Mapping[str, Any], args: Namespace) -> None:
    if args.json:
        say_json(document)
    else:
        say(render(document, args.terminal))


def _say_rejection(report: Mapping[str, Any], args: Namespace) -> int:
    if args.json:
        say_json(report)
        return REFUSED
    for line in map(render_problem, report["problems"]):
        complain(line)
    if (untold := report["problem_count"] - len(report["problems"])) > 0:
        complain(f"and {untold} more problems")
    complain("runtimectl: " + render_report(report)[0])
    complain("hint: correct it; until then everybody gets the answers they got before")
    return REFUSED
