"""An exec root that takes no pins: containers start, they are counted, and they get their pins later."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest
from e2e.harness.containerd import RUNC_OPTIONS
from e2e.harness.hasty import HastyNode, new_hasty_node
from harness.daemon import wait_until

from runtimed.core.containerd.options import RUNC, encode_options, make_options

NAME = "w"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def hasty() -> Iterator[HastyNode]:
    with new_hasty_node("30d") as hasty:
        yield hasty


@contextlib.contextmanager
def full(hasty: HastyNode, options: str) -> Iterator[None]:
    exec_root = hasty.node.daemon.root / "run"
    subprocess.run(["mount", "-o", f"remount,{options}", str(exec_root)], check=True)
    filler = exec_root / "filler"
    filler.mkdir()
    with contextlib.suppress(OSError):
        for number in range(100_000):
            (filler / str(number)).write_bytes(bytes(4096))
    yield
    shutil.rmtree(filler)


@contextlib.contextmanager
def read_only(hasty: HastyNode) -> Iterator[None]:
    """Make the directory of pins read-only for the daemon, and for the launchers in their namespace."""
    pins = str(hasty.node.daemon.root / "run" / "pins")
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    enters = ((), hasty.root.enter)
    for enter in enters:
        subprocess.run([*enter, "sh", "-c", script, "sh", pins], check=True)
    try:
        yield
    finally:
        for enter in enters:
            subprocess.run([*enter, "umount", pins], check=True)


def start(hasty: HastyNode) -> str:
    """Start a container through the stable path, and return its id."""
    link = hasty.node.daemon.data / "runtimes" / NAME
    value = encode_options(make_options(RUNC, {"binary_name": str(link), "root": str(hasty.line.states)}))
    return hasty.node.containerd.run(RUNC_OPTIONS, value)


def use(hasty: HastyNode, identifier: str) -> None:
    words = ("tasks", "exec", "--exec-id", "x", identifier, "/bin/sh", "-c", "exit 42")
    hasty.node.containerd.ctr(*words, status=42)


def unpinned(hasty: HastyNode) -> int:
    return int(hasty.node.daemon.status()["containers"]["unpinned"])


def uses_and_removes(hasty: HastyNode, containers: list[str]) -> None:
    """See that containers of runc are used and removed although the name means crun."""
    hasty.node.configure({NAME: {"path": "/usr/bin/crun"}})
    for identifier in containers:
        use(hasty, identifier)
        hasty.node.containerd.remove(identifier)


@pytest.mark.parametrize(
    ("spoiled", "outcome"),
    [
        # There is no room for the table file either.
        (partial(full, options="size=64k"), "rejected"),
        (partial(full, options="nr_inodes=100"), "rejected"),
        (read_only, "applied"),
    ],
    ids=["full", "no inodes", "read-only"],
)
def test_containers_start_and_are_counted_while_no_pin_can_be_written(
    hasty: HastyNode, spoiled: Callable[[HastyNode], AbstractContextManager[None]], outcome: str
) -> None:
    hasty.node.write({NAME: {"path": "/usr/sbin/runc"}})
    hasty.node.daemon.start()
    before = start(hasty)
    with spoiled(hasty):
        during = start(hasty)
        for identifier in (before, during):
            use(hasty, identifier)
        wait_until(lambda: unpinned(hasty) == 1, "one container without a pin")
        # The one with a pin keeps its runtime all the same.
        hasty.node.write({NAME: {"path": "/usr/bin/crun"}})
        # The daemon may read the file by itself first.
        outcomes = (outcome,) if outcome == "rejected" else (outcome, "unchanged")
        assert hasty.node.daemon.reload()["outcome"] in outcomes
        use(hasty, before)
        hasty.node.configure({NAME: {"path": "/usr/sbin/runc"}})
        use(hasty, during)
    wait_until(lambda: unpinned(hasty) == 0, "a pin for each container")
    uses_and_removes(hasty, [before, during])


def test_containers_start_without_a_directory_of_pins_and_get_their_pins_again(hasty: HastyNode) -> None:
    pins = hasty.node.daemon.root / "run" / "pins"
    hasty.node.write({NAME: {"path": "/usr/sbin/runc"}})
    hasty.node.daemon.start()
    before = start(hasty)
    assert hasty.node.daemon.stop() == 0
    shutil.rmtree(pins)
    during = start(hasty)
    for identifier in (before, during):
        use(hasty, identifier)
    assert not pins.exists()
    hasty.node.daemon.start()
    assert pins.stat().st_mode & 0o7777 == 0o700
    wait_until(lambda: {path.name for path in pins.iterdir()} == {before, during}, "a pin for each container")
    uses_and_removes(hasty, [before, during])
