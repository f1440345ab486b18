"""A container has its runtime for life: the engines of this Debian, which were given the stable path."""

from __future__ import annotations

import pytest
from e2e.harness.engines import ENGINES
from e2e.harness.lives import live, new_life

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_container_keeps_its_runtime_when_the_name_means_another(engine: str) -> None:
    with new_life(engine) as life:
        live(life)
