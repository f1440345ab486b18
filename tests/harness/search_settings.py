"""Sets the number of examples of property tests, which RUNTIMED_TEST_EXAMPLES overrides."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("RUNTIMED_TEST_EXAMPLES", "0"))


def searched(examples: int) -> Callable[[Any], Any]:
    """Return a decorator that tries a property ``examples`` times, unless the environment overrides it."""

    def decorate(test: Any) -> Any:
        # A long search is bounded by the number of its examples only.
        test = pytest.mark.timeout(0 if EXAMPLES else 300)(test)
        slow = [HealthCheck.too_slow]
        return settings(max_examples=EXAMPLES or examples, deadline=None, suppress_health_check=slow)(test)

    return decorate
