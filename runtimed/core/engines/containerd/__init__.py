"""Knows containerd's config.toml, in which the CRI plugin's section has the runtimes."""

from __future__ import annotations

from runtimed.core.engines.containerd import view
from runtimed.core.engines.containerd.imports import DIRECTORY, MAIN_FILE
from runtimed.core.engines.containerd.plan import FILE, plan_containerd
from runtimed.core.engines.containerd.read import read_containerd
from runtimed.core.engines.containerd.write import write_containerd
from runtimed.core.engines.engine import Asking, Engine, Run, Writing
from runtimed.core.engines.syntax import parse_toml, render_toml

ENGINE = Engine(
    reads="a config.toml of version 2, 3 or 4, of which the runtimes of the CRI plugin are taken",
    writes="a file for the imports of config.toml",
    read=lambda original: read_containerd(
        parse_toml(original.source), original.source.path, render_toml, original.renames
    ),
    write=lambda table, options: write_containerd(table, options.config_version or 2),
    render=render_toml,
    writing=Writing(
        path=FILE,
        inputs=(MAIN_FILE, FILE, f"{DIRECTORY}/*"),
        version=Run(("containerd", "--version")),
        plan=plan_containerd,
    ),
    asking=Asking(
        questions=view.questions,
        expected=view.expected,
        answered=view.answered,
        process="containerd",
        # It reads its files once.
        takes_effect="restart",
    ),
)
