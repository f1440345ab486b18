"""Defines the configurations of a long run of reloads; RUNTIMED_TEST_RELOADS sets their number (default 300)."""

from __future__ import annotations

import os
import random
from typing import Any

RELOADS = int(os.environ.get("RUNTIMED_TEST_RELOADS", "300"))
# A run of all tests spends a minute or two on them; .ci/run sets the variable for a longer run.
QUICK_RELOADS = RELOADS if "RUNTIMED_TEST_RELOADS" in os.environ else 100


def configuration(number: int) -> dict[str, dict[str, Any]]:
    """Return the runtimes of reload ``number``: one never changes, the others appear, change and disappear.

    Every binary exists on every machine; a path with "/." in it is another path to the same file.
    """
    chance = random.Random(number)
    runtimes: dict[str, dict[str, Any]] = {
        "steady": {"path": "/bin/echo", "runtimeArgs": ["always", "the same"]},
        # Changes with every reload, so that each makes a generation.
        "restless": {"path": "/bin/echo", "runtimeArgs": ["--number", str(number)]},
        "plain": {"path": f"/usr/bin{'/.' * (number % 3)}/env"},
        "typed": {
            "runtimeType": f"/usr/bin{'/.' * (number % 2)}/env",
            "options": {"ConfigPath": f"/etc/{number % 5}"},
        },
    }
    for other in range(20):
        match chance.randrange(3):
            case 0:
                runtimes[f"other{other}"] = {"path": "/bin/echo", "runtimeArgs": [str(chance.randrange(4))]}
            case 1:
                runtimes[f"other{other}"] = {"path": f"/bin{'/.' * other}/echo"}
    return runtimes
