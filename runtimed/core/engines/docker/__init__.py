"""Knows dockerd's daemon.json."""

from __future__ import annotations

from runtimed.core.engines.docker.plan import WRITING
from runtimed.core.engines.docker.read import read_docker
from runtimed.core.engines.docker.view import ASKING
from runtimed.core.engines.docker.write import write_docker
from runtimed.core.engines.engine import Engine
from runtimed.core.engines.syntax import render_json

ENGINE = Engine(
    read=read_docker,
    write=lambda table, _: write_docker(table),
    render=render_json,
    writing=WRITING,
    asking=ASKING,
)
