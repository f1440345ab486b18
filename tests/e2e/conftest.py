"""Orders the files of end-to-end tests: the longest first, so that none of them is left for one worker at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

# Each takes a minute or more; .ci/run prints the durations of the slowest tests. Files that boot a machine alternate
# with others, so that few machines boot at the same time.
_LONGEST = (
    "test_ansible.py",
    "test_promise.py",
    "test_sync.py",
    "test_newer_engines.py",
    "test_package.py",
    "test_container_life.py",
    "test_reference_scan_faults.py",
    "test_crash.py",
    "test_systemd.py",
    "test_invariants.py",
    "test_systemd_node.py",
    "test_changes.py",
    "test_trust_unit.py",
    "test_engine_files.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first, and keep the order otherwise."""
    place = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(Path(item.location[0]).name, len(place)))
