"""How long property tests search: for some seconds, or RUNTIMED_TEST_EXAMPLES examples each, where that is set."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("RUNTIMED_TEST_EXAMPLES", "0"))


def searched(examples: int) -> Callable[[Any], Any]:
    """Return the decorator of a property that is tried ``examples`` times unless the environment says otherwise."""

    def decorate(test: Any) -> Any:
        # A long search has no bound on its time but the number of its examples, and how fast it is made is no matter.
        test = pytest.mark.timeout(0 if EXAMPLES else 300)(test)
        slow = [HealthCheck.too_slow]
        return settings(max_examples=EXAMPLES or examples, deadline=None, suppress_health_check=slow)(test)

    return decorate
