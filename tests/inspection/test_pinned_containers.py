"""Pins of real files in step with containers: swept, adopted, counted."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from runtimed.core.collection.references import Reference
from runtimed.core.config import Engine
from runtimed.core.pins import Pin, pin_file, render_pin
from runtimed.core.table.launcher import make_launcher
from runtimed.host.pins import PinDirectory
from runtimed.inspection.pinned_containers import ABSENT_S, ADOPT_AGE_S, PinnedContainers, Unpinned

WRAPPER = "/data/wrappers/gvisor-" + "a" * 32


class Node:
    """A node below a directory: pins, containerd's tasks, and the states of a runtime."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stable = root / "data/runtimes"
        self.states = root / "states/moby"
        self.usual = root / "usual"
        self.tasks = root / "run/io.containerd.runtime.v2.task"
        for path in (self.stable, self.states, self.usual, self.tasks):
            path.mkdir(parents=True)
        self.pins = PinDirectory(str(root / "pins"))
        assert self.pins.make() is None
        self.now_s = 1000.0
        self.targets: dict[str, list[tuple[float, str]]] = {}
        self.engines = [Engine("/c.sock", str(root / "run"), None)]
        self.start()

    def start(self) -> None:
        """Start the daemon anew."""
        self.pinned = PinnedContainers(
            self.pins,
            stable=str(self.stable),
            target_at=self.target_at,
            roots=[str(self.usual)],
            clock_s=lambda: self.now_s,
        )

    def target_at(self, link: str, time_s: float) -> str | None:
        return next((target for since_s, target in reversed(self.targets.get(link, [])) if since_s <= time_s), None)

    def pin(self, identifier: str = "a", target: str = WRAPPER, **more: str) -> Pin:
        root = str(self.states)
        state, bundle = more.get("state", root), more.get("bundle", self.bundle_of(identifier))
        pin = Pin("gvisor", root, identifier, state, bundle, target)
        with open(f"{self.pins.path}/{pin_file(identifier)}", "ab") as file:
            file.write(render_pin(pin))
        return pin

    def bundle_of(self, identifier: str, namespace: str = "moby") -> str:
        return str(self.tasks / namespace / identifier)

    def run(self, identifier: str = "a", bundle: bool = True) -> None:
        (self.states / identifier).mkdir()
        if bundle:
            Path(self.bundle_of(identifier)).mkdir(parents=True)

    def end(self, identifier: str = "a", bundle: bool = True) -> None:
        (self.states / identifier).rmdir()
        if bundle:
            Path(self.bundle_of(identifier)).rmdir()

    def task(self, identifier: str, created_s: float, namespace: str = "moby", **options: str) -> None:
        bundle = Path(self.bundle_of(identifier, namespace))
        bundle.mkdir(parents=True)
        options = {"binary_name": f"{self.stable}/gvisor", "root": str(self.states.parent), **options}
        (bundle / "options.json").write_text(json.dumps(options))
        os.utime(bundle / "options.json", (created_s, created_s))

    def left(self, now_s: float) -> list[str]:
        """Sweep, and return the ids that are left."""
        swept = self.pinned.sweep(now_s)
        assert swept.faults == ()
        assert swept.pins == self.pinned.pins
        return sorted(pin.id for pin in swept.pins)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_pin_stays_while_its_container_has_a_state(node: Node) -> None:
    node.pin()
    node.run()
    for now_s in (0, 60, 10_000):
        assert node.left(now_s) == ["a"]
    Path(node.bundle_of("a")).rmdir()
    assert node.left(20_000) == ["a"], "without a bundle too"


def test_a_pin_without_state_and_bundle_is_removed_at_once(node: Node) -> None:
    node.pin()
    node.run()
    node.end()
    assert node.left(0) == []
    assert os.listdir(node.pins.path) == []


def test_a_pin_of_a_container_that_is_being_created_stays(node: Node) -> None:
    node.pin()
    Path(node.bundle_of("a")).mkdir(parents=True)
    for now_s in (0, 60, 10_000):
        assert node.left(now_s) == ["a"]


@pytest.mark.parametrize("bundle", ["", "/"])
def test_without_a_bundle_that_tells_a_pin_is_removed_after_its_state_was_seen(node: Node, bundle: str) -> None:
    node.pin(bundle=bundle)
    assert node.left(0) == ["a"]
    assert node.left(1000) == ["a"], "never seen with a state"
    node.run(bundle=False)
    assert node.left(2000) == ["a"]
    node.end(bundle=False)
    # It may be restarting.
    assert node.left(3000) == ["a"]
    assert node.left(3000 + ABSENT_S - 1) == ["a"]
    node.run(bundle=False)
    assert node.left(3000 + ABSENT_S) == ["a"]
    node.end(bundle=False)
    assert node.left(4000) == ["a"], "the time starts again"
    assert node.left(4000 + ABSENT_S) == []


def test_a_container_that_is_being_created_again_keeps_its_identical_pin(node: Node) -> None:
    node.pin(bundle="/")
    node.run(bundle=False)
    assert node.left(0) == ["a"]
    node.end(bundle=False)
    assert node.left(60) == ["a"]
    # The launcher has found the identical pin; the runtime has not made the state yet.
    with open(f"{node.pins.path}/a", "ab") as file:
        file.write(b"\n")
    assert node.left(120) == ["a"]
    assert node.left(120 + ABSENT_S) == []


def test_a_pin_that_this_process_has_not_seen_with_a_state_stays(node: Node) -> None:
    node.pin(bundle="")
    node.run(bundle=False)
    assert node.left(0) == ["a"]
    node.end(bundle=False)
    node.start()
    assert node.left(60) == ["a"]
    assert node.left(10_000) == ["a"]


def test_a_removed_pin_that_is_recorded_again_has_not_been_seen_with_a_state(node: Node) -> None:
    for started_s in (0, 1000):
        node.pin(bundle="")
        assert node.left(started_s) == ["a"]
        assert node.left(started_s + ABSENT_S) == ["a"]
        node.run(bundle=False)
        assert node.left(started_s + 100) == ["a"]
        node.end(bundle=False)
        assert node.left(started_s + 200) == ["a"]
        assert node.left(started_s + 200 + ABSENT_S) == []


def test_a_pin_whose_root_is_not_known_is_looked_for_in_the_usual_ones(node: Node) -> None:
    node.pin(state="")
    (node.usual / "a_sandbox:a.state").write_text("")
    assert node.left(0) == ["a"]
    (node.usual / "a_sandbox:a.state").unlink()
    assert node.left(1) == []


def test_a_pin_whose_root_does_not_exist_stays(node: Node) -> None:
    # An engine with a mount namespace that the daemon does not see.
    node.pin(state="/nowhere/moby", bundle="/nowhere/a")
    assert node.left(0) == ["a"]
    assert node.left(10_000) == ["a"]


def test_a_shared_file_stays_until_all_of_its_containers_are_gone(node: Node) -> None:
    for name in ("one of them", "two of them"):
        node.pin(name)
        node.run(name)
    node.end("one of them")
    assert node.left(0) == ["one of them", "two of them"]
    node.end("two of them")
    assert node.left(1) == []


def test_an_empty_file_is_removed_when_it_is_old(node: Node) -> None:
    assert node.left(0) == []
    path = Path(node.pins.path, "a")
    path.write_text("")
    assert node.left(0) == []
    assert node.left(ABSENT_S - 1) == []
    assert path.exists(), "a launcher may be about to write"
    path.write_text("\n1\t=gvi")
    assert node.left(ABSENT_S) == []
    assert path.exists(), "it has begun to write"
    assert node.left(2 * ABSENT_S) == []
    assert not path.exists()


@pytest.mark.parametrize("sign", ["run/io.containerd.runtime.v2.task/moby/a", "usual/a_sandbox:a.state"])
def test_a_container_that_is_created_again_during_the_sweep_keeps_its_pin(
    node: Node, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    node.pin(state="")
    real = node.pins.remove_gone

    def create_first(*args: Any) -> bool:
        # The launcher finds an identical pin, and records none.
        (node.root / sign).mkdir(parents=True)
        return real(*args)

    monkeypatch.setattr(node.pins, "remove_gone", create_first)
    assert node.left(0) == ["a"]
    assert [pin.id for pin in node.pins.read().pins] == ["a"]


def test_pins_that_cannot_be_read_are_faults_and_unknown_references(node: Node) -> None:
    node.pin()
    node.run()
    os.mkfifo(f"{node.pins.path}/b")
    scan = node.pinned.look(node.engines)
    assert scan.references == (
        Reference(WRAPPER, "container a (pin)"),
        Reference("runtimes/gvisor", "container a (pin)"),
    )
    assert scan.unknown == node.pinned.faults == (f"{node.pins.path}/b: is not a regular file",)
    assert node.pinned.references() == scan


def test_a_missing_directory_is_made_again(node: Node) -> None:
    assert node.left(0) == []
    Path(node.pins.path).rmdir()
    assert node.left(1) == []
    assert Path(node.pins.path).is_dir()
    Path(node.pins.path).rmdir()
    Path(node.pins.path).symlink_to(node.root)
    assert "pins cannot be used: Not a directory" in node.pinned.look(node.engines).unknown[0]


def test_pins_are_references_to_wrappers_and_stable_paths(node: Node) -> None:
    node.pin("a")
    node.run("a")
    node.pin("b", "/usr/bin/runc")
    node.run("b")
    wrapper, stable = node.pinned.look(node.engines).references
    assert wrapper == Reference(WRAPPER, "container a (pin)")
    assert stable.path == "runtimes/gvisor"


def test_a_container_of_an_earlier_layout_gets_the_target_of_its_time(node: Node) -> None:
    node.targets["gvisor"] = [(0, "/old"), (500, "/new")]
    node.task("early", 499)
    node.task("late", 501)
    adopted = {pin.id: pin for pin in node.pinned.adopt(node.engines, 0)}
    assert {identifier: pin.target for identifier, pin in adopted.items()} == {"early": "/old", "late": "/new"}
    root = str(node.states)
    assert adopted["early"] == Pin("gvisor", root, "early", root, node.bundle_of("early"), "/old")
    assert sorted(pin.id for pin in node.pinned.pins) == ["early", "late"]
    assert node.pinned.unpinned == ()
    assert node.pinned.adopt(node.engines, 0) == ()
    assert node.left(10_000) == ["early", "late"]
    assert node.pinned.adopt(node.engines, 0) == ()


@pytest.mark.parametrize(
    ("options", "root"),
    [({"root": ""}, "/run/containerd/runc/moby"), ({"root": "/var/run/docker/"}, "/var/run/docker/moby")],
)
def test_the_root_of_an_adopted_pin_is_the_one_that_the_shim_gives(
    node: Node, options: dict[str, str], root: str
) -> None:
    node.targets["gvisor"] = [(0, "/old")]
    node.task("a", 1, **options)
    (pin,) = node.pinned.adopt(node.engines, 0)
    assert (pin.root, pin.state) == (root, root)


def test_a_container_that_does_not_use_a_stable_path_is_not_adopted(node: Node) -> None:
    node.targets.update({link: [(0, "/old")] for link in ("gvisor", "runc")})
    for number, binary in enumerate(["", "runc", "/usr/bin/gvisor", WRAPPER, f"{node.stable}x/gvisor"]):
        node.task(str(number), 1, binary_name=binary)
    Path(node.bundle_of("none")).mkdir()
    (node.tasks / "moby/.deleted").mkdir()
    (node.tasks / "moby/broken").mkdir()
    (node.tasks / "moby/broken/options.json").write_text("{")
    assert node.pinned.adopt(node.engines, 0) == ()
    assert node.pinned.unpinned == ()


def test_a_stable_path_through_a_link_is_known(node: Node) -> None:
    node.targets["gvisor"] = [(0, "/old")]
    (node.root / "alias").symlink_to("data")
    node.task("a", 1, binary_name=str(node.root / "alias/runtimes/gvisor"))
    assert [pin.target for pin in node.pinned.adopt(node.engines, 0)] == ["/old"]


def test_a_young_container_may_just_be_recording_its_pin(node: Node) -> None:
    node.targets["gvisor"] = [(0, "/old")]
    node.task("a", node.now_s)
    node.now_s += ADOPT_AGE_S - 1
    node.pinned.look(node.engines)
    assert (node.pinned.pins, node.pinned.unpinned) == ((), ())
    node.now_s += 1
    node.pinned.look(node.engines)
    assert [pin.id for pin in node.pinned.pins] == ["a"]


def test_containers_without_a_pin_are_counted(node: Node) -> None:
    node.targets["gvisor"] = [(500, "/new")]
    node.task("a", 499)
    node.task("b", 500, namespace="k8s.io")
    with structlog.testing.capture_logs() as logged:
        node.pinned.look(node.engines)
        node.pinned.look(node.engines)
    assert node.pinned.unpinned == (Unpinned("moby/a", f"{node.stable}/gvisor"),)
    assert [pin.id for pin in node.pinned.pins] == ["b"]
    assert logged == [
        {"event": "pins.adopted", "log_level": "info", "containers": 1},
        {
            "event": "pins.missing",
            "log_level": "warning",
            "containers": 1,
            "first": [f"moby/a of {node.stable}/gvisor"],
        },
    ]


def test_a_pin_that_cannot_be_written_leaves_the_container_unpinned(node: Node) -> None:
    node.targets["gvisor"] = [(0, "/old")]
    node.task("a", 1)
    assert node.left(0) == []
    os.mkdir(f"{node.pins.path}/a")
    node.pinned.look(node.engines)
    assert node.pinned.unpinned == (Unpinned("moby/a", f"{node.stable}/gvisor"),)


def test_the_same_id_in_another_namespace_is_another_container(node: Node) -> None:
    node.targets["gvisor"] = [(0, "/old")]
    node.pin("a", "/new")
    node.task("a", 1)
    node.task("a", 1, namespace="k8s.io")
    (pin,) = node.pinned.adopt(node.engines, 0)
    assert pin.root == f"{node.states.parent}/k8s.io"
    assert node.pinned.sweep(0).removed == 0
    assert {pin.target for pin in node.pinned.pins} == {"/old", "/new"}


def test_pins_of_an_earlier_exec_root_are_copied_and_other_containers_adopted(node: Node) -> None:
    node.targets["gvisor"] = [(0, "/old")]
    node.task("a", node.now_s)
    earlier = PinDirectory(str(node.root / "earlier"))
    assert earlier.make() is None
    assert earlier.add(Pin("x", "/r", "b", "", "", "/x")) is None
    Path(node.pins.path).rmdir()
    for directory in (earlier.path, earlier.path, node.pins.path):
        node.pinned.take_over(directory, node.engines)
        assert {pin.id: pin.target for pin in node.pinned.read()} == {"a": "/old", "b": "/x"}


def test_real_launchers_lose_no_pin_while_the_daemon_sweeps_without_a_pause(node: Node) -> None:
    # The state is the last argument below the value of --root.
    program = node.root / "program"
    program.write_text('#!/bin/sh\nfor id do :; done\nmkdir "$2/$id"\n')
    program.chmod(0o700)
    paths = []
    for target in ("/first", "/second"):
        launcher = make_launcher("gvisor", str(program), (), target, node.pins.path, "")
        paths.append(node.root / launcher.file)
        paths[-1].write_bytes(launcher.text)
        paths[-1].chmod(0o700)
    stop = threading.Event()
    removed = 0

    def sweep() -> None:
        nonlocal removed
        while not stop.is_set():
            removed += node.pinned.sweep(0).removed

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        for number in range(200):
            Path(node.bundle_of("a")).mkdir(parents=True)
            # Every second one is created again with the same definition.
            which = number // 2 % 2
            command = [str(paths[which]), "--root", str(node.states), "create", "--bundle", node.bundle_of("a"), "a"]
            subprocess.run(command, check=True)
            (pin,) = node.pins.read().pins
            assert pin.target == ("/first", "/second")[which]
            node.end()
    finally:
        stop.set()
        thread.join()
    # On a busy machine no sweep may have come between the end of a container and the next one.
    assert removed + node.pinned.sweep(0).removed


@pytest.fixture
def thousand(node: Node) -> Node:
    for number in range(1000):
        name = f"{number:064}"
        node.task(name, 1, **({} if number % 2 else {"binary_name": "/usr/bin/runc"}))
        (node.states / name).mkdir()
        pin = Pin("gvisor", str(node.states), name, str(node.states), node.bundle_of(name), WRAPPER)
        if number % 2:
            assert node.pins.add(pin) is None
    return node


def test_a_look_at_a_thousand_containers_takes_milliseconds(thousand: Node) -> None:
    thousand.pinned.look(thousand.engines)
    begin_s = time.process_time()
    for _ in range(5):
        assert len(thousand.pinned.look(thousand.engines).references) == 501
    assert (time.process_time() - begin_s) / 5 < 0.5
    assert thousand.pinned.unpinned == ()
