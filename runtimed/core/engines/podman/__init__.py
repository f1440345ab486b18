"""Knows podman's containers.conf, in which the tables below ``engine`` have the runtimes."""

from __future__ import annotations

from runtimed.core.engines.engine import Engine
from runtimed.core.engines.podman.plan import WRITING
from runtimed.core.engines.podman.read import read_podman
from runtimed.core.engines.podman.view import ASKING
from runtimed.core.engines.podman.write import write_podman
from runtimed.core.engines.syntax import render_toml

ENGINE = Engine(
    read=read_podman,
    write=lambda table, _: write_podman(table),
    render=render_toml,
    writing=WRITING,
    asking=ASKING,
)
