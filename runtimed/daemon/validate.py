"""Checks a configuration without a daemon (``runtimed --validate``), as a reload and a start would check it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from runtimed.core.containers import Kept, describe_containers, summarise_kept
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.history.layout import PINS
from runtimed.core.message_text import printable
from runtimed.core.plan import BootContext, Plan, plan, report_on
from runtimed.core.report import Report
from runtimed.core.table.availability import Unavailable, summarise_unavailable
from runtimed.core.table.build import build_generation
from runtimed.core.table.generation import Generation, Host
from runtimed.daemon.arguments import STDIN, Arguments
from runtimed.daemon.configuration_reader import main_required, read_snapshot
from runtimed.daemon.startup import refusals
from runtimed.host.facts import read_facts
from runtimed.host.pins import PinDirectory
from runtimed.host.trust import Trust, walk
from runtimed.inspection.binaries import NodeInspector

# Bound on the ignored keys that are listed without --verbose.
_NAMED = 8


def validate(arguments: Arguments) -> int:
    """Print the problems of the configuration and return 1; without problems, print "OK" and return 0.

    With ``--log-format json`` a report is printed, in the shape of the API's.
    """
    started_s = time.monotonic()
    report = _check(arguments)
    duration_ms = round((time.monotonic() - started_s) * 1000, 3)
    report = replace(report, dry_run=True, duration_ms=duration_ms, time_s=round(time.time(), 3))
    if arguments.flags.log_format == "json":
        print(json.dumps(report.as_dict()))
    else:
        print("\n".join(map(printable, _lines(report, arguments))))
    return 1 if report.outcome == "rejected" else 0


def _check(arguments: Arguments) -> Report:
    trust = Trust.of_process()
    documents = read_snapshot(arguments, partial(walk, trust=trust)).documents
    defaults = arguments.defaults
    host = Host(read_facts(os.environ), defaults.data_root, defaults.exec_root)
    context = BootContext(arguments.config_path, arguments.flags, defaults, host, defaults, main_required(arguments))
    try:
        examined: Plan | ConfigurationRejected = plan(documents, context, 0, None, context.main_required)
    except ConfigurationRejected as rejection:
        examined = rejection
    report = replace(report_on(examined, context, "validate", None), restart_required=())
    if isinstance(examined, ConfigurationRejected):
        return report
    generation = examined.generation
    problems = tuple(Problem(str(error)) for error in refusals(generation.config.settings, trust, os.environ))
    if problems:
        return Report("rejected", 0, "validate", problems=problems, cause="configuration", remarks=report.remarks)
    if generation.config.runtimed.require_proof:
        text = (
            "runtimed.require-proof is not checked: only a running daemon knows the proofs, and runtimectl plan asks it"
        )
        report = replace(report, remarks=(*report.remarks, generation.config.default_at.problem(text)))
    kept = _find_kept(generation)
    return replace(report, unavailable=_find_unavailable(generation), kept=kept, runtimes=len(generation.runtimes))


def _find_unavailable(generation: Generation) -> tuple[Unavailable, ...]:
    inspector = NodeInspector(os.environ.get("PATH", ""), lambda _binary, _features: None)
    try:
        return asyncio.run(inspector.find_unavailable(generation))
    finally:
        inspector.stop()


def _find_kept(generation: Generation) -> tuple[Kept, ...]:
    """Return the definitions that containers of this node keep and that ``generation`` lacks.

    A user who may not read the pins gets none. Only a daemon knows the generations of the definitions.
    """
    settings = generation.config.settings
    pins = tuple(PinDirectory(f"{settings.exec_root}/{PINS}").read().pins)
    if not pins:
        return ()
    # The targets are in the configured data root.
    host = replace(generation.host, data_root=settings.data_root, exec_root=settings.exec_root)
    generation = build_generation(generation.config, host, 0)
    names = {link: runtime.name for link, runtime in generation.launchers.items()}
    return summarise_kept(describe_containers(pins, generation, lambda link: names.get(link, link), lambda *_: None))


def _lines(report: Report, arguments: Arguments) -> Iterable[str]:
    """Yield ``report`` as lines of text."""
    yield from map(str, report.problems)
    if report.omitted:
        yield f"and {report.omitted:,} more problems"
    if not report.problems:
        summary = summarise_unavailable(report.unavailable, report.runtimes)
        file = "stdin" if arguments.config_path == STDIN else arguments.config_path
        yield f"{file}: OK ({summary if report.unavailable else f'{report.runtimes} runtimes'})"
    yield from map(str, report.kept)
    for remark in report.remarks:
        yield f"note: {remark}"
    if len(report.ignored) <= _NAMED or arguments.verbose:
        for key in report.ignored:
            yield f"ignored: {key}, which dockerd knows and runtimed has no use for"
    else:
        count = len(report.ignored)
        yield f"ignored: {count} keys that dockerd knows and runtimed has no use for (--verbose names them)"
    for key in report.overridden:
        yield f"overridden: {key}, which a flag of the command line sets"
