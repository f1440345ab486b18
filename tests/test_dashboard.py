"""The Grafana dashboard: panels that can be told apart, and queries that follow the choice of nodes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import runtimed

FILE = Path(runtimed.__file__).parents[1] / "etc" / "monitoring" / "dashboard.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    columns = range(place["x"], place["x"] + place["w"])
    return set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        assert not cells(panel) & taken, panel["title"]
        taken |= cells(panel)
    assert {x for x, _ in taken} == set(range(COLUMNS))


def test_each_panel_has_a_number_a_title_and_a_description() -> None:
    for key in ("id", "title", "description"):
        values = [panel[key] for panel in PANELS]
        assert all(values)
        assert len(set(values)) == len(values)


def test_each_query_asks_the_chosen_source_for_the_chosen_nodes() -> None:
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    for panel in PANELS:
        for target in panel["targets"]:
            assert panel["datasource"] == target["datasource"] == SOURCE
            # Each metric of an expression, not only the first.
            assert target["expr"].count("{") == target["expr"].count('instance=~"$instance"') > 0, target
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
