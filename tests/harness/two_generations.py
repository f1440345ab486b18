"""Defines two generations, and a way to drop older ones."""

from __future__ import annotations

import json
import time
from typing import Any

from harness.daemon import RunningDaemon, put

BEFORE: dict[str, Any] = {
    "default-runtime": "stays",
    "runtimes": {
        "stays": {"path": "/bin/sh"},
        "goes": {"path": "/bin/sh", "runtimeArgs": ["-e"]},
        "bro\x1b[31mken\n": {"path": "/nowhere/gone", "runtimeArgs": ["-x"]},
        "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/a", "TypeUrl": "t"}},
    },
}
AFTER: dict[str, Any] = {
    "default-runtime": "comes",
    "runtimes": {
        "stays": {"path": "/bin/sh"},
        "comes": {"path": "/bin/sh"},
        "bro\x1b[31mken\n": {"path": "/nowhere/gone", "runtimeArgs": ["-y", "two words"]},
        "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/b", "ConfigBody": "x"}},
    },
}


def drop_older_generations(daemon: RunningDaemon, document: dict[str, Any]) -> None:
    """Make ``document`` the only retained generation: the daemon may drop those that are older than an hour."""
    daemon.stop()
    for manifest in (daemon.data / "generations").glob("*/manifest.json"):
        put(manifest, {**json.loads(manifest.read_text()), "created": time.time() - 7200})
    daemon.write({**document, "runtimed": {**document.get("runtimed", {}), "retain": 1}})
    daemon.start()


# The lines of the difference, as `diff` and `plan` print them.
CHANGES = [
    "+ comes",
    '    path: "/bin/sh"',
    "- goes",
    '    path: "/bin/sh"',
    '    runtimeArgs: ["-e"]',
    r"~ bro\x1b[31mken\n",
    '    runtimeArgs: ["-x"] -> ["-y", "two words"]',
    "~ kata",
    '    options.type_url: "t" -> is not set',
    '    options.config_path: "/a" -> "/b"',
    '    options.config_body: was not set -> "x"',
    "default runtime: stays -> comes",
]
