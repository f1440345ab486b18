"""The promise: a container that was started through an answer stays manageable whatever becomes of the configuration.

Generations younger than an hour go only when there are too many of them, so a test that wants them gone reloads as
often as that.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.containerd import RUNC_OPTIONS
from e2e.harness.node import ContainerdNode, new_node
from harness.daemon import PATIENCE_S, wait_until

from runtimed.core.containerd.options import RUNC, encode_options, make_options

GRACE_S = 2.0


@pytest.fixture
def node() -> Iterator[ContainerdNode]:
    with new_node(grace=f"{GRACE_S:g}s") as node:
        yield node


def executes(node: ContainerdNode, identifier: str) -> None:
    """See that something is executed in a container. Its status tells: on a busy machine ctr may lose its output."""
    node.containerd.ctr(
        "tasks", "exec", "--exec-id", uuid.uuid4().hex, identifier, "/bin/sh", "-c", "exit 42", status=42
    )


def restart(node: ContainerdNode) -> None:
    assert node.daemon.stop() == 0
    node.daemon.start()


def restart_after_kill(node: ContainerdNode) -> None:
    node.daemon.stop(signal.SIGKILL)
    node.daemon.start()


def collect_after_grace(node: ContainerdNode) -> None:
    """Have wrappers collected, first to begin the grace and then when it is over, with looks in between."""
    until = time.monotonic() + GRACE_S + 0.5
    while time.monotonic() < until:
        node.collect()
        time.sleep(0.1)
    node.collect()


def collect_until(node: ContainerdNode, needed: set[str]) -> None:
    """Have wrappers collected until only ``needed`` are left: nothing is lost on the way, nothing is leaked in the end.

    Shims that are just ending may still refer to a wrapper, and then its grace begins anew.
    """

    def only_needed() -> bool:
        node.collect()
        files = node.files()
        assert files >= needed, "nothing is lost"
        return files == needed

    wait_until(only_needed, "the last wrapper that nothing needs to be collected")


def recording_runtime(node: ContainerdNode) -> Path:
    """Make a runtime that writes down its first argument, which is the table's, and then is runc with the others."""
    program = node.daemon.root / "recording"
    program.write_text(f'#!/bin/sh\necho "$*" >> {node.daemon.root}/calls\nshift\nexec /usr/sbin/runc "$@"\n')
    program.chmod(0o700)
    return program


def calls(node: ContainerdNode, identifier: str) -> tuple[set[str], set[str]]:
    """Return with which first arguments the recording runtime was called for a container, and to do what."""
    lines = [line.split() for line in (node.daemon.root / "calls").read_text().splitlines()]
    mine = [words for words in lines if identifier in words]
    verbs = {"create", "start", "exec", "kill", "delete"}
    return {words[0] for words in mine}, {word for words in mine for word in words if word in verbs}


def state_left_by_runtimes(node: ContainerdNode) -> list[str]:
    return sorted(str(path) for path in (node.daemon.root / "run/runtime-runc").glob("default/*"))


def wrapped(node: ContainerdNode, argument: str = "first") -> dict[str, Any]:
    return {"path": str(node.daemon.root / "recording"), "runtimeArgs": [argument]}


# What happens to a runtime while its containers run; after each of them they must be manageable.
EVENTS: dict[str, Callable[[ContainerdNode], object]] = {
    "arguments changed": lambda node: node.configure({"w": wrapped(node, "second")}),
    "runtime gone": lambda node: node.configure({}),
    "collection asked for": collect_after_grace,
    "daemon restarted": restart,
    "daemon killed": restart_after_kill,
    "its generations gone": lambda node: node.outlive({}),
    "collection asked for without its generations": collect_after_grace,
    "daemon restarted without its generations": restart,
    "daemon killed without its generations": restart_after_kill,
    "runtime back with other arguments": lambda node: node.configure({"w": wrapped(node, "third")}),
    "runtime back as it was": lambda node: node.configure({"w": wrapped(node)}),
    "runtime gone again": lambda node: node.outlive({}),
}


@pytest.mark.timeout(600)
def test_a_container_keeps_working_whatever_happens_to_its_runtime(
    node: ContainerdNode,
) -> None:
    recording_runtime(node)
    node.write({"w": wrapped(node)})
    node.daemon.start()
    containerd = node.containerd
    answer = node.daemon.resolve("w")
    file = Path(answer["options"]["fields"]["binary_name"])
    assert file.parent == node.wrappers
    text = file.read_bytes()
    steady = node.run(answer)
    started_again: list[str] = []
    pairs = {event: (node.run(answer), node.run(answer)) for event in EVENTS}
    alive = {steady, *(one for pair in pairs.values() for one in pair)}
    for event, happen in EVENTS.items():
        happen(node)
        assert file.read_bytes() == text, event
        with ThreadPoolExecutor(AT_ONCE) as pool:
            both(pool, lambda one: executes(node, one), alive)
        removed, restarted = pairs[event]
        containerd.remove(removed)
        alive.remove(removed)
        assert calls(node, removed) == ({"first"}, {"create", "start", "exec", "kill", "delete"}), event
        node.restart_task(restarted)
        started_again.append(restarted)
        executes(node, restarted)
        assert node.collect().verdicts[file.name][0] == "keep", event
    assert all(calls(node, identifier)[0] == {"first"} for identifier in alive), "nobody was given another's arguments"
    for identifier in started_again:
        containerd.remove(identifier)
    # Only one is left, and no generation names its wrapper any more.
    kept_by(node, file, f"container default/{steady} (task) refers to it")
    wrapper_goes_with_its_last_container(node, steady, file)
    assert state_left_by_runtimes(node) == []


def kept_by(node: ContainerdNode, file: Path, reason: str) -> None:
    """Have wrappers collected until ``file`` is kept for this ``reason``: a shim that is just ending is another one."""

    def is_kept() -> bool:
        verdict, found = node.collect().verdicts[file.name]
        assert verdict == "keep", found
        return found == reason

    wait_until(is_kept, reason)


def wrapper_goes_with_its_last_container(node: ContainerdNode, identifier: str, file: Path) -> None:
    """Remove a container step by step, and see that its wrapper goes when the last step is over, and not sooner."""
    containerd = node.containerd
    containerd.kill(identifier)
    collect_after_grace(node)
    kept_by(node, file, f"container default/{identifier} (task) refers to it")
    containerd.delete_task(identifier)
    # No process and no state directory has it any more; containerd's list of containers does.
    for happen in (collect_after_grace, restart, collect_after_grace):
        happen(node)
        kept_by(node, file, f"container default/{identifier} (stopped) refers to it")
    containerd.start_task(identifier)
    executes(node, identifier)
    containerd.kill(identifier)
    containerd.delete_task(identifier)
    time.sleep(GRACE_S)
    containerd.delete(identifier)
    kept_by(node, file, "nothing refers to it, but only for 0 of 2 s")
    time.sleep(GRACE_S)
    # A restart has not watched what went before it.
    restarted_s = time.monotonic()
    restart(node)
    assert collected_after_s(node, file, restarted_s) >= GRACE_S
    assert not file.exists()
    (event,) = [one for one in node.daemon.log() if one["event"] == "gc.collected" and one["wrapper"] == file.name]
    assert event["asked_by"].startswith("uid 0, pid ")


def collected_after_s(node: ContainerdNode, file: Path, since_s: float) -> float:
    """Have wrappers collected until ``file`` is; return how long after ``since_s`` that was."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        verdict, reason = node.collect().verdicts[file.name]
        assert file.exists() == (verdict == "keep"), (verdict, reason)
        if verdict == "collected":
            return time.monotonic() - since_s
        # A shim that is just ending refers to it, too.
        assert "refers to it" in reason, reason
        time.sleep(0.05)
    raise AssertionError(f"{file} is still there")


@pytest.mark.timeout(400)
def test_a_container_started_through_the_stable_path_keeps_it_after_a_removal(
    node: ContainerdNode,
) -> None:
    # A stable path ends in the name alone, and other tests may have containers on this machine.
    name = f"w-{uuid.uuid4().hex[:8]}"
    node.write({name: {"path": "/usr/sbin/runc", "runtimeArgs": ["--debug"]}})
    node.daemon.start()
    link = node.daemon.data / "runtimes" / name
    root = node.daemon.resolve(name)["options"]["fields"]["root"]
    value = encode_options(make_options(RUNC, {"binary_name": str(link), "root": root}))
    one, two = (node.containerd.run(RUNC_OPTIONS, value) for _ in range(2))
    wrapper = link.resolve()
    node.outlive({})
    for happen in (collect_after_grace, restart, collect_after_grace, restart_after_kill):
        happen(node)
        assert link.resolve() == wrapper
        executes(node, one)
        node.restart_task(two)
    for identifier in (one, two):
        assert node.collect().verdicts[wrapper.name][0] == "keep"
        node.containerd.remove(identifier)
    assert collected_after_s(node, wrapper, time.monotonic()) >= GRACE_S
    assert not link.is_symlink(), "the stable path goes with what it led to"


CONTAINERS = 50
RUNTIMES = 10
RELOADS = 200
# How many things are done to containers while reloads go on.
AT_ONCE = 3


class Churn:
    """A table that changes at random, and containers that are started, looked into and started again meanwhile."""

    def __init__(self, node: ContainerdNode, random: random.Random, pool: ThreadPoolExecutor) -> None:
        self.node = node
        self.random = random
        self.pool = pool
        self.table: dict[str, object] = {}
        # Container -> the wrapper that it was started with.
        self.wrapper_of: dict[str, str] = {}
        self.doing: list[Future[object]] = []
        self.busy: set[str] = set()
        # Wrappers of the same content have the same name, and other tests may have containers on this machine.
        self.mark = node.daemon.root.name

    def reload(self) -> None:
        """Give each runtime one of many arguments, or none at all: it is gone."""
        chosen = {f"r{number}": self.random.choice([*range(40), *[None] * 10]) for number in range(RUNTIMES)}
        self.table = {
            # What it is called with after this wins, so that nothing is ever written there.
            name: {
                "path": ("/usr/sbin/runc", "/usr/bin/crun")[int(name[1:]) % 2],
                "runtimeArgs": ["--log", f"/-/{self.mark}/{one}"],
            }
            for name, one in chosen.items()
            if one is not None
        }
        self.node.configure(self.table)

    def start(self) -> None:
        """Start a container through an answer of now, while the table goes on changing."""
        answer = self.node.daemon.resolve(self.random.choice(sorted(self.table)))
        wrapper = Path(answer["options"]["fields"]["binary_name"]).name
        self._do(lambda: self.wrapper_of.__setitem__(self.node.run(answer), wrapper))

    def look_into(self) -> None:
        """Execute something in a container."""
        self._do_to(lambda identifier: executes(self.node, identifier))

    def start_again(self) -> None:
        """Kill and remove a task, and start it again."""
        self._do_to(self.node.restart_task)

    def finish(self) -> None:
        while self.doing:
            self.doing.pop(0).result()

    def _do_to(self, action: Callable[[str], object]) -> None:
        # One thing at a time is done to one container.
        if not (free := sorted(set(self.wrapper_of) - self.busy)):
            return
        identifier = self.random.choice(free)
        self.busy.add(identifier)

        def act() -> None:
            action(identifier)
            self.busy.remove(identifier)

        self._do(act)

    def _do(self, action: Callable[[], object]) -> None:
        if len(self.doing) >= AT_ONCE:
            self.doing.pop(0).result()
        self.doing.append(self.pool.submit(action))


def resources(pid: int) -> dict[str, int]:
    return {kind: len(list(Path(f"/proc/{pid}/{kind}").iterdir())) for kind in ("fd", "task")}


def leftovers(node: ContainerdNode, identifiers: set[str]) -> dict[str, list[str]]:
    """Return what is left on the node of containers: cgroups, mounts, state of runtimes and of shims, processes."""
    containerd = node.containerd
    assert containerd.process is not None
    mounts = Path(f"/proc/{containerd.process.pid}/mounts").read_text().splitlines()
    cgroups = [path.name for path in Path("/sys/fs/cgroup").glob("**/t[0-9]*-*")]
    return {
        "mounts": [line for line in mounts if str(containerd.root) in line],
        "cgroups": sorted(identifiers.intersection(cgroups)),
        "runtimes": state_left_by_runtimes(node),
        "bundles": sorted(path.name for path in containerd.tasks.glob("*/*")),
        "processes": [str(pid) for pid in containerd._processes() if pid != containerd.process.pid],
    }


@pytest.mark.timeout(900)
def test_fifty_containers_on_ten_runtimes_outlast_two_hundred_random_reloads(
    node: ContainerdNode,
) -> None:
    rng = random.Random(3)
    node.write({})
    node.daemon.start()
    assert node.daemon.process is not None
    with ThreadPoolExecutor(AT_ONCE) as pool:
        churn = Churn(node, rng, pool)
        begun_s = time.monotonic()
        for number in range(RELOADS):
            churn.reload()
            if number % (RELOADS // CONTAINERS) == 0:
                churn.start()
            if rng.random() < 0.3:
                churn.look_into()
            if rng.random() < 0.1:
                churn.start_again()
            if number % 20 == 19:
                node.collect()
            if number in (60, 120):
                restart(node)
            if number == 160:
                restart_after_kill(node)
        churn.finish()
        churned_s = time.monotonic() - begun_s
        containers = set(churn.wrapper_of)
        assert len(containers) == CONTAINERS
        needed = set(churn.wrapper_of.values())
        assert len(needed) > RUNTIMES, "some runtimes have containers with different arguments"
        assert needed <= node.files(), "nothing is lost"
        made = len(node.files())
        # The generations go, and with them every other reason to keep a wrapper.
        node.outlive({})
        before = resources(node.daemon.process.pid)
        collect_until(node, needed)
        both(pool, lambda one: executes(node, one), containers)
        restart_after_kill(node)
        half = set(sorted(containers)[::2])
        both(pool, node.restart_task, half)
        both(pool, node.containerd.remove, half)
        collect_until(node, {churn.wrapper_of[one] for one in containers - half})
        both(pool, lambda one: executes(node, one), containers - half)
        both(pool, node.containerd.remove, containers - half)
    # Shims take a moment to end.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not any(leftovers(node, containers).values()), "an end of all shims")
    left = leftovers(node, containers)
    assert not any(left.values()), left
    collect_until(node, set())
    assert list((node.daemon.data / "runtimes").iterdir()) == []
    # Some are only open for a look.
    wait_until(
        lambda: all(number <= before[kind] + 2 for kind, number in resources(node.daemon.pid).items()),
        f"as few as before, {before}",
    )
    total_s = time.monotonic() - begun_s
    print(f"{RELOADS} reloads with {CONTAINERS} containers in {churned_s:.1f} s, {made} wrappers; all {total_s:.1f} s")  # noqa: T201


def both(pool: ThreadPoolExecutor, action: Callable[[str], object], identifiers: set[str]) -> None:
    """Do ``action`` to each container, a few at a time."""
    for _ in pool.map(action, sorted(identifiers)):
        pass
