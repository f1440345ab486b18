"""``runtimed --validate``: the path of a reload up to where the disk would be written, without a daemon."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from functools import partial

from runtimed.api.sockets import group_id
from runtimed.arguments import Arguments
from runtimed.boot import main_required, read_snapshot
from runtimed.core.availability import Unavailable, summarise_unavailable
from runtimed.core.errors import ConfigurationRejected, Problem, UnknownGroup
from runtimed.core.generation import Generation, Host
from runtimed.core.plan import Frame, plan
from runtimed.core.report import Report
from runtimed.host.facts import read_facts
from runtimed.host.trust import Trust, walk
from runtimed.inspector import NodeInspector


def _check_group(name: str | None) -> None:
    """Refuse, as a start does, a group that does not exist on this node."""
    try:
        if name is not None:
            group_id(name)
    except UnknownGroup as error:
        raise ConfigurationRejected((Problem(f"group: {error}"),)) from error


def _find_unavailable(generation: Generation) -> tuple[Unavailable, ...]:
    inspector = NodeInspector(os.environ.get("PATH", ""), lambda _binary, _features: None)
    try:
        return asyncio.run(inspector.find_unavailable(generation))
    finally:
        inspector.stop()


def validate(arguments: Arguments) -> int:
    """Print what is wrong with the configuration and return 1, or 0 with dockerd's words when nothing is.

    With ``--log-format json`` a report is printed, in the shape of the API's.
    """
    started_s = time.monotonic()
    documents = read_snapshot(arguments, partial(walk, trust=Trust.of_process())).documents
    defaults = arguments.defaults
    host = Host(read_facts(os.environ), defaults.data_root, defaults.exec_root)
    frame = Frame(arguments.config_path, arguments.flags, defaults, host, defaults, main_required(arguments))
    try:
        planned = plan(documents, frame, 0, None, frame.main_required)
        _check_group(planned.generation.config.settings.group)
    except ConfigurationRejected as rejection:
        report = Report("rejected", 0, "validate", problems=rejection.problems)
    else:
        config, added = planned.generation.config, planned.difference.added
        report = Report("applied", 0, "validate", added=added, ignored=config.ignored, overridden=config.overridden)
        report = replace(
            report, unavailable=_find_unavailable(planned.generation), runtimes=len(planned.generation.runtimes)
        )
    duration_ms = round((time.monotonic() - started_s) * 1000, 3)
    report = replace(report, dry_run=True, duration_ms=duration_ms, time_s=round(time.time(), 3))
    if arguments.flags.log_format == "json":
        print(json.dumps(report.as_dict()))
    else:
        print("\n".join(str(problem) for problem in report.problems) or "configuration OK")
        for key in report.ignored:
            print(f"ignored: {key}, which dockerd knows and runtimed has no use for")
        if report.unavailable:
            print(f"warning: {summarise_unavailable(report.unavailable, report.runtimes)}", file=sys.stderr)
    return 1 if report.outcome == "rejected" else 0
