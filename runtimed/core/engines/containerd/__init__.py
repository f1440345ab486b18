"""Knows containerd's config.toml, in which the CRI plugin's section has the runtimes."""

from __future__ import annotations

from runtimed.core.engines.containerd.plan import WRITING
from runtimed.core.engines.containerd.read import read_containerd
from runtimed.core.engines.containerd.view import ASKING
from runtimed.core.engines.containerd.write import write_containerd
from runtimed.core.engines.engine import Engine
from runtimed.core.engines.syntax import render_toml

ENGINE = Engine(
    read=read_containerd,
    write=lambda table, options: write_containerd(table, options.config_version or 2),
    render=render_toml,
    writing=WRITING,
    asking=ASKING,
)
