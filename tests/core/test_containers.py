"""Containers that have a pin: their description, and the older definitions that they keep."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtimed.core.containers import (
    ContainersSummary,
    Kept,
    PinnedContainer,
    describe_containers,
    summarise_containers,
    summarise_kept,
)
from runtimed.core.pins import Pin

OLD, NEW = "/usr/bin/runsc", "/opt/runsc"


def pin(link: str, container: str, target: str, root: str = "/run/engine", bundle: str = "") -> Pin:
    return Pin(link=link, root=root, id=container, state=root, bundle=bundle, target=target)


def table(**targets: str | None) -> Any:
    """Return a generation whose stable paths lead to ``targets``; a runtime without a target has no stable path."""
    runtimes = {
        name: SimpleNamespace(launcher=None if target is None else SimpleNamespace(link=name), target=target)
        for name, target in targets.items()
    }
    return SimpleNamespace(number=8, runtimes=runtimes)


def describe(generation: Any, *pins: Pin) -> tuple[PinnedContainer, ...]:
    known = {("gvisor", OLD): 7, ("gvisor", NEW): 8}
    return describe_containers(pins, generation, str.upper, lambda link, target: known.get((link, target)))


def test_a_container_is_described_with_the_generation_that_has_its_target() -> None:
    assert describe(table(gvisor=OLD), pin("gvisor", "a", OLD, bundle="/b")) == (
        PinnedContainer("a", "/run/engine", "gvisor", "GVISOR", OLD, 7, outdated=False, bundle="/b"),
    )


def test_a_generation_that_has_a_name_on_path_has_its_binary() -> None:
    known = {("gvisor", "runsc"): 5}
    (container,) = describe_containers(
        [pin("gvisor", "a", OLD)], table(gvisor=NEW), str.upper, lambda *pair: known.get(pair)
    )
    assert (container.generation, container.outdated) == (5, True)


@pytest.mark.parametrize(
    ("generation", "outdated"),
    [
        (table(gvisor=OLD), False),
        # The name has another binary, is gone, or belongs to a shim now.
        (table(gvisor=NEW), True),
        (table(), True),
        (table(gvisor=None), True),
        # The launcher searches a name on PATH.
        (table(gvisor="runsc"), False),
        (table(gvisor="sc"), True),
    ],
)
def test_a_container_is_outdated_if_the_stable_path_leads_to_another_target(generation: Any, outdated: bool) -> None:
    (container,) = describe(generation, pin("gvisor", "a", OLD))
    assert container.outdated is outdated


def test_containers_are_sorted_by_runtime_id_and_root() -> None:
    pins = pin("b", "1", OLD), pin("a", "2", OLD, "/y"), pin("a", "2", OLD, "/x"), pin("a", "1", OLD)
    found = [(each.link, each.id, each.root) for each in describe(table(), *pins)]
    assert found == sorted(found)


def test_an_unknown_root_and_bundle_are_null_in_json() -> None:
    (container,) = describe(table(), pin("x", "a", OLD, root=""))
    assert container.as_dict() == {
        "id": "a",
        "root": None,
        "runtime": "X",
        "generation": None,
        "binary": OLD,
        "outdated": True,
        "bundle": None,
    }


def test_kept_definitions_are_counted_for_each_runtime_and_binary() -> None:
    pins = [pin("gvisor", str(number), target) for number, target in enumerate([OLD, OLD, OLD, NEW, "/gone"])]
    containers = describe(table(gvisor=NEW), *pins)
    assert summarise_kept(containers) == (Kept("GVISOR", 1, None, "/gone"), Kept("GVISOR", 3, 7, OLD))
    summary = summarise_containers(containers, 2)
    assert summary == ContainersSummary(5, 2, summarise_kept(containers))
    assert summary.outdated == 4
    assert summary.as_dict()["outdated"] == 4


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (Kept("gvisor", 3, 7, OLD), "gvisor: 3 containers keep generation 7's /usr/bin/runsc"),
        (Kept("gvisor", 1, 7, OLD), "gvisor: 1 container keeps generation 7's /usr/bin/runsc"),
        (Kept("gvisor", 3, None, OLD), "gvisor: 3 containers keep an earlier generation's /usr/bin/runsc"),
    ],
)
def test_a_kept_definition_is_a_line_of_text(kept: Kept, text: str) -> None:
    assert str(kept) == text


def test_the_json_of_a_summary_has_at_most_a_thousand_kept_definitions() -> None:
    many = tuple(Kept(f"r{number}", 2, 1, OLD) for number in range(1500))
    document = ContainersSummary(3000, 0, many).as_dict()
    assert (len(document["kept"]), document["outdated"]) == (1000, 3000)
