"""Knows containerd's config.toml, in which the CRI plugin's section has the runtimes."""

from __future__ import annotations

from runtimed.core.engines.containerd.read import read_containerd
from runtimed.core.engines.containerd.write import write_containerd
from runtimed.core.engines.engine import Engine
from runtimed.core.engines.syntax import parse_toml, render_toml

ENGINE = Engine(
    reads="a config.toml of version 2 or 3, of which the runtimes of the CRI plugin are taken",
    writes="a file for the imports of config.toml",
    read=lambda original: read_containerd(
        parse_toml(original.source), original.source.path, render_toml, original.renames
    ),
    write=lambda table, options: write_containerd(table, options.config_version or 2),
    render=render_toml,
)
