"""What a long run of reloads goes through: RUNTIMED_TEST_RELOADS sets how many (300 unless told)."""

from __future__ import annotations

import os
import random
from typing import Any

RELOADS = int(os.environ.get("RUNTIMED_TEST_RELOADS", "300"))
# A run of all tests has a minute or two for them; .ci/run sets the variable and runs the same tests for longer.
QUICK_RELOADS = RELOADS if "RUNTIMED_TEST_RELOADS" in os.environ else 100


def configuration(number: int) -> dict[str, dict[str, Any]]:
    """Return the runtimes of reload ``number``: one never changes, the others come, change and go.

    Every binary exists on every machine; a path with "/." in it is another path to the same file.
    """
    chance = random.Random(number)
    runtimes: dict[str, dict[str, Any]] = {
        "steady": {"path": "/bin/echo", "runtimeArgs": ["always", "the same"]},
        # Changes with every reload, so that each is a generation of its own.
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
