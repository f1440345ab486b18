"""Containers that have a pin: their description, and the older definitions that they keep."""

from __future__ import annotations

import pytest
from harness.generation import generation_of

from runtimed.core.containers import (
    ContainersSummary,
    Kept,
    PinnedContainer,
    describe_containers,
    summarise_containers,
    summarise_kept,
)
from runtimed.core.pins import Pin
from runtimed.core.table.generation import Generation

OLD, NEW = "/usr/bin/runsc", "/opt/runsc"


def pin(link: str, container: str, target: str, root: str = "/run/engine", bundle: str = "") -> Pin:
    return Pin(link=link, root=root, id=container, state=root, bundle=bundle, target=target)


def table(**paths: str | None) -> Generation:
    """Return generation 8 of runtimes with these paths; one without a path is a shim."""
    shim = {"runtimeType": "io.containerd.kata.v2"}
    return generation_of({"runtimes": {name: {"path": path} if path else shim for name, path in paths.items()}}, 8)


def describe(generation: Generation, *pins: Pin) -> tuple[PinnedContainer, ...]:
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


def test_the_json_shape_of_a_summary_has_the_first_thousand_entries_of_each_list() -> None:
    kept = tuple(Kept(str(number), 1, None, "/x") for number in range(1001))
    unknown = tuple(map(str, range(1001)))
    shape = ContainersSummary(2000, 3, kept, unknown).as_dict()
    assert shape == {
        "pinned": 2000,
        "unpinned": 3,
        "outdated": 1001,
        "kept": [each.as_dict() for each in kept[:1000]],
        "unknown": list(unknown[:1000]),
    }


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
def test_a_container_is_outdated_if_the_stable_path_leads_to_another_target(
    generation: Generation, outdated: bool
) -> None:
    (container,) = describe(generation, pin("gvisor", "a", OLD))
    assert container.outdated is outdated


def test_a_container_of_a_runtime_with_arguments_keeps_its_wrapper() -> None:
    before, after = (
        generation_of({"runtimes": {"gvisor": {"path": OLD, "runtimeArgs": [flag]}}}) for flag in ("--a", "--b")
    )
    target = before.runtimes["gvisor"].target
    assert target is not None
    assert target.startswith("/data/wrappers/gvisor-")
    pinned = pin("gvisor", "a", target)
    assert [describe(each, pinned)[0].outdated for each in (before, after)] == [False, True]


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
