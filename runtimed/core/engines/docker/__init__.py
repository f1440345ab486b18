"""Knows dockerd's daemon.json."""

from __future__ import annotations

from runtimed.core.engines.docker.info import answered_view, ask_info, expected_view
from runtimed.core.engines.docker.plan import FILE, RECORD, VERSION, plan_docker
from runtimed.core.engines.docker.read import read_docker
from runtimed.core.engines.docker.write import write_docker
from runtimed.core.engines.engine import Asking, Engine, Writing
from runtimed.core.engines.syntax import render_json

ENGINE = Engine(
    reads="a daemon.json",
    writes="the runtimes of a daemon.json, for dockerd 24.0 and later",
    read=lambda original: read_docker(original.source, original.renames),
    write=lambda table, _: write_docker(table),
    render=render_json,
    writing=Writing(path=FILE, inputs=(FILE, RECORD), version=VERSION, plan=plan_docker),
    asking=Asking(
        questions=ask_info,
        expected=expected_view,
        answered=answered_view,
        process="dockerd",
        takes_effect="reload",
    ),
)
