"""Tests of the line that shows the verification of an engine."""

from __future__ import annotations

from typing import Any

import pytest

from runtimed.cli.engine_state import render_engine
from runtimed.cli.terminal import YELLOW


@pytest.mark.parametrize(
    ("state", "detail", "text", "colour"),
    [
        ("follows", "", "docker follows (1 min ago)", None),
        ("not-running", "", "docker not-running (1 min ago)", None),
        ("differs", "x", "docker differs (1 min ago): x", YELLOW),
        ("not-told", "restart it", "docker not-told (1 min ago): restart it", YELLOW),
        ("unknown", "x", "docker unknown (1 min ago): x", YELLOW),
    ],
)
def test_an_engine_is_a_line_with_the_age_of_its_verification(
    state: str, detail: str, text: str, colour: int | None
) -> None:
    engine: dict[str, Any] = {"engine": "docker", "state": state, "detail": detail, "time": 40.0}
    line = render_engine(engine, 100.0)
    assert (line.value, line.colour) == (text, colour)
