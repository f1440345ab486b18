"""Random steps over containers and runtimes: no container is lost, no pin stays, no wrapper is removed too early."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.command_line import CommandLine
from e2e.harness.containerd import RUNC_OPTIONS
from e2e.harness.hasty import new_hasty_node
from e2e.harness.node import STOCK, ContainerdNode
from harness.daemon import put_executable, wait_until

from runtimed.core.containerd.options import RUNC, encode_options, make_options

STEPS = int(os.environ.get("RUNTIMED_TEST_LIVES", "300"))
SEED = int(os.environ.get("RUNTIMED_TEST_SEED", "14"))
CONTAINERS = 20
# Of these containerd starts some, and the others are started by the command line.
BY_CONTAINERD = 3
NAMES = 5
GRACE_S = 2
_RECORDING = '#!/bin/sh\nprintf "%s\\n" "$*" >>{calls}\nshift\nexec {program} "$@"\n'


@dataclass(frozen=True, slots=True)
class Definition:
    """A name's meaning: the argument of the recording runtime, "" for none, and the path that is executed."""

    argument: str
    binary: str


@dataclass(slots=True)
class Container:
    """A running container: the stable path that its engine uses, and the definition that it was started by."""

    stable_path: Path
    definition: Definition


class Lives:
    """Containers that come and go while the table changes."""

    def __init__(self, node: ContainerdNode, line: CommandLine, seed: int) -> None:
        self.node = node
        self.line = line
        self.random = random.Random(seed)
        # A stable path ends in the name alone, and other tests may have containers on this machine.
        mark = uuid.uuid4().hex[:6]
        self.names = [f"n{number}-{mark}" for number in range(NAMES)]
        self.ids = [f"i{number}-{mark}" for number in range(CONTAINERS)]
        self.table: dict[str, dict[str, Any]] = {}
        self.running: dict[str, Container] = {}
        self.calls = node.daemon.root / "calls"
        self.counts: dict[str, int] = {}
        for name, program in (("runc", "/usr/sbin/runc"), ("crun", "/usr/bin/crun")):
            put_executable(node.daemon.root / name, _RECORDING.format(calls=self.calls, program=program))

    def change(self) -> None:
        """Give a name another meaning, or none."""
        program = self.random.choice(["runc", "crun"])
        name = self.random.choice(self.names)
        match self.random.randrange(4):
            case 0:
                self.table.pop(name, None)
            case 1:
                self.table[name] = {"path": {"runc": "/usr/sbin/runc", "crun": "/usr/bin/crun"}[program]}
            case _:
                argument = f"{program}-{self.random.randrange(10)}"
                self.table[name] = {"path": str(self.node.daemon.root / program), "runtimeArgs": [argument]}
        self.node.configure(self.table)

    def start(self) -> None:
        """Start a container, perhaps one that was there before."""
        if free := sorted(set(self.ids) - set(self.running)):
            self._start(self.random.choice(free))

    def execute(self) -> None:
        """Execute a process in a container."""
        if self.running:
            self._use(self.random.choice(sorted(self.running)))

    def restart(self) -> None:
        """Stop a container and start it again at once, by any name."""
        if self.running and self.table:
            identifier = self.random.choice(sorted(self.running))
            self._stop(identifier)
            self._start(identifier)

    def remove(self) -> None:
        """Remove a container."""
        if self.running:
            self._stop(self.random.choice(sorted(self.running)), for_good=True)

    def start_twice(self) -> None:
        """Start a container that runs already, by any name: that fails, and the container goes on."""
        ids = sorted(identifier for identifier in self.running if not self._is_containerds(identifier))
        if ids and self.table:
            identifier = self.random.choice(ids)
            other = self.node.daemon.data / "runtimes" / self.random.choice(sorted(self.table))
            self.line.run(other, identifier, status=1)
            self._use(identifier)

    def collect(self) -> None:
        self.node.collect()

    def restart_daemon(self) -> None:
        self.node.daemon.stop(self.random.choice([signal.SIGTERM, signal.SIGKILL]))
        self.execute()
        self.restart()
        self.node.daemon.start()

    def step(self) -> None:
        """Do one of these at random, and see that the wrappers of all running containers are there."""
        weights: dict[Callable[[], None], int] = {
            self.change: 25,
            self.start: 25,
            self.execute: 20,
            self.restart: 10,
            self.remove: 10,
            self.start_twice: 4,
            self.collect: 4,
            self.restart_daemon: 2,
        }
        (action,) = self.random.choices(list(weights), list(weights.values()))
        try:
            action()
            for identifier, container in self.running.items():
                assert Path(container.definition.binary).exists(), (identifier, container)
                assert container.stable_path.exists(), (identifier, container)
        except BaseException as error:
            error.add_note(f"seed {SEED}, step {sum(self.counts.values())}: {action.__name__}")
            raise
        self.counts[action.__name__] = self.counts.get(action.__name__, 0) + 1

    def _is_containerds(self, identifier: str) -> bool:
        return identifier in self.ids[:BY_CONTAINERD]

    def _start(self, identifier: str) -> None:
        if not self.table:
            return
        name = self.random.choice(sorted(self.table))
        stable_path = self.node.daemon.data / "runtimes" / name
        definition = self._definition(name)
        self.calls.write_text("")
        if self._is_containerds(identifier):
            value = encode_options(make_options(RUNC, {"binary_name": str(stable_path), "root": str(self.line.states)}))
            self.node.containerd.create_container(identifier, RUNC_OPTIONS, value)
            self.node.containerd.start_task(identifier)
        else:
            self.line.run(stable_path, identifier)
        self.running[identifier] = Container(stable_path, definition)
        self._see_called(identifier)

    def _definition(self, name: str) -> Definition:
        entry = self.table[name]
        if (arguments := entry.get("runtimeArgs")) is None:
            return Definition("", entry["path"])
        wrappers = [*self.node.wrappers.glob(f"{name}-*")]
        line = f"exec {entry['path']} {arguments[0]} ".encode()
        (wrapper,) = (wrapper for wrapper in wrappers if wrapper.read_bytes().splitlines()[-1].startswith(line))
        return Definition(arguments[0], str(wrapper))

    def _use(self, identifier: str) -> None:
        self.calls.write_text("")
        if self._is_containerds(identifier):
            words = ("tasks", "exec", "--exec-id", uuid.uuid4().hex, identifier)
            self.node.containerd.ctr(*words, "/bin/sh", "-c", "exit 42", status=42)
        else:
            self.line.exec(self.running[identifier].stable_path, identifier)
        self._see_called(identifier)

    def _stop(self, identifier: str, *, for_good: bool = False) -> None:
        self.calls.write_text("")
        if self._is_containerds(identifier):
            self.node.containerd.remove(identifier)
        else:
            stop = self.line.remove if for_good else self.line.kill
            stop(self.running[identifier].stable_path, identifier)
        self._see_called(identifier)
        del self.running[identifier]

    def _see_called(self, identifier: str) -> None:
        """See that the runtime was called with the arguments with which the container was started."""
        lines = [line.split() for line in self.calls.read_text().splitlines()]
        called = {words[0] for words in lines if identifier in words}
        definition = self.running[identifier].definition
        assert called == ({definition.argument} if definition.argument else set()), (identifier, definition)


@pytest.fixture
def lives() -> Iterator[Lives]:
    with new_hasty_node(f"{GRACE_S}s") as hasty:
        hasty.node.own["gc"] = True
        hasty.node.write({})
        hasty.node.daemon.start()
        yield Lives(hasty.node, hasty.line, SEED)


# A step takes a second where the machine is busy.
@pytest.mark.timeout(300 + 4 * STEPS)
def test_random_steps_lose_no_container_and_leave_no_pin(lives: Lives, capsys: pytest.CaptureFixture[str]) -> None:
    begun_s = time.monotonic()
    for _ in range(STEPS):
        lives.step()
    took_s = time.monotonic() - begun_s
    for identifier in sorted(lives.running):
        lives._use(identifier)
        lives._stop(identifier, for_good=True)
    # The last generation with runtimes is dropped once it is old enough, at a publish.
    for default in (*STOCK, *STOCK):
        lives.node.configure({}, default)
        time.sleep(1.1)
    pins = lives.node.daemon.root / "run" / "pins"
    # Of a container that is stopped while the daemon is not running the state may not have been seen.
    wait_until(lambda: list(pins.iterdir()) == [], "the last pin to be swept")
    wait_until(lambda: lives.node.files() == set(), "the last wrapper and launcher to be collected")
    assert list((lives.node.daemon.data / "runtimes").iterdir()) == []
    with capsys.disabled():
        sys.stdout.write(f"\n{STEPS} steps, seed {SEED}, in {took_s:.0f} s: {lives.counts}\n")
