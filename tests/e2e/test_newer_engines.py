"""A container has its runtime for life: the newest engines that Debian has, in a root file system of their own."""

from __future__ import annotations

import pytest
from e2e.harness.engine_root import NEWER
from e2e.harness.engines import ENGINES
from e2e.harness.lives import live, new_life

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_container_keeps_its_runtime_when_the_name_means_another(engine: str) -> None:
    with new_life(engine, NEWER) as life:
        live(life)
