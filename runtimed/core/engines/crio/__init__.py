"""Knows CRI-O's crio.conf, in which the tables below ``crio.runtime`` have the runtimes."""

from __future__ import annotations

from runtimed.core.engines.crio.plan import WRITING
from runtimed.core.engines.crio.read import read_crio
from runtimed.core.engines.crio.view import ASKING
from runtimed.core.engines.crio.write import write_crio
from runtimed.core.engines.engine import Engine
from runtimed.core.engines.syntax import render_toml

ENGINE = Engine(
    read=read_crio,
    write=lambda table, _: write_crio(table),
    render=render_toml,
    writing=WRITING,
    asking=ASKING,
)
