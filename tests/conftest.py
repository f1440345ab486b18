"""Sets the number of processes (pyproject.toml gives ``-n auto``), no deadlines, and a quick garbage collector."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine may be busy: how long one example takes says nothing about the code.
settings.register_profile("no-deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-deadline")

# Starting the processes takes a second, which so many files are not worth.
_FEW_FILES = 3
_MOST_PROCESSES = 8
# The tests of these directories share a machine's engines, or measure; .ci/run says how many processes they get.
_ALONE = {"e2e", "bench"}


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes that ``-n auto`` means, 0 for pytest's own alone."""
    paths = [Path(argument.partition("::")[0]) for argument in config.args]
    if (len(paths) <= _FEW_FILES and all(path.is_file() for path in paths)) or any(
        _ALONE & set(path.parts) for path in paths
    ):
        return 0
    # Tests wait for daemons half of the time.
    return min(3 * len(os.sched_getaffinity(0)) // 2, _MOST_PROCESSES)


def pytest_collection_finish() -> None:
    """Take the modules and the collected tests out of garbage collection: tests that collect took 0.1 s each."""
    gc.collect()
    gc.freeze()
