"""Containers of an engine while the name that they were started by changes its meaning."""

from __future__ import annotations

import contextlib
import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.harness.engine_root import new_engine_root
from e2e.harness.engines import ENGINES, Engine
from harness.daemon import RunningDaemon, new_daemon

RUNC: dict[str, Any] = {"path": "/usr/sbin/runc"}
CRUN: dict[str, Any] = {"path": "/usr/bin/crun"}
RUNC_WITH_ARGUMENTS: dict[str, Any] = {"path": "/usr/sbin/runc", "runtimeArgs": ["--rootless", "false"]}
GVISOR: dict[str, Any] = {"path": "/usr/bin/runsc", "runtimeArgs": ["--network=none", "--ignore-cgroups"]}


@dataclass(frozen=True, slots=True)
class Life:
    """A daemon whose table has one name, and an engine that was given its stable path."""

    daemon: RunningDaemon
    engine: Engine
    name: str

    def write(self, runtime: dict[str, Any] | None) -> None:
        nowhere = str(self.daemon.root / "nowhere")
        containerd = [{"address": f"{nowhere}/c.sock", "state": nowhere, "root": nowhere}]
        runtimes = {} if runtime is None else {self.name: runtime}
        self.daemon.write({"runtimed": {"containerd": containerd}, "runtimes": runtimes})

    def change(self, runtime: dict[str, Any] | None) -> None:
        """Give the name another meaning, or none."""
        self.write(runtime)
        report = self.daemon.reload()
        assert report["outcome"] in ("applied", "unchanged"), report

    def start(self, kind: str) -> str:
        """Start a container, which ``kind`` has to run, and return its id."""
        identifier = self.engine.run()
        assert self.engine.kind(identifier) == kind
        self.engine.exec(identifier)
        return identifier

    def restart(self, identifier: str, kind: str) -> str:
        """Start a container again, which ``kind`` has to run from then on, and return its id."""
        self.engine.exec(identifier)
        identifier = self.engine.restart(identifier)
        assert self.engine.kind(identifier) == kind
        self.engine.exec(identifier)
        return identifier

    def remove(self, identifier: str, kind: str) -> None:
        """Use a container that ``kind`` has run so far, and remove it."""
        assert self.engine.kind(identifier) == kind
        self.engine.exec(identifier)
        self.engine.remove(identifier)


def _start(life: Life) -> None:
    life.daemon.start()


def _stop(life: Life) -> None:
    assert life.daemon.stop() == 0


def _kill(life: Life) -> None:
    life.daemon.stop(signal.SIGKILL)


# What happens to the name or to the daemon -> the runtime of containers that are started from then on.
STEPS: dict[str, tuple[Callable[[Life], None], str]] = {
    "the name means crun": (lambda life: life.change(CRUN), "crun"),
    "runc with arguments": (lambda life: life.change(RUNC_WITH_ARGUMENTS), "runc"),
    "the daemon is stopped": (_stop, "runc"),
    "the daemon is started": (_start, "runc"),
    "gVisor": (lambda life: life.change(GVISOR), "runsc"),
    "the daemon is killed": (_kill, "runsc"),
    "the daemon is started again": (_start, "runsc"),
    # The stable path stays, because an engine was given it.
    "the name is dropped": (lambda life: life.change(None), "runsc"),
    "the name is back": (lambda life: life.change(CRUN), "crun"),
}


def live(life: Life) -> None:
    """Start containers by runc, and use some at each step, with those that were started at earlier steps."""
    first = [life.start("runc") for _ in STEPS]
    previous: tuple[str, str] | None = None
    for step, (happen, kind) in STEPS.items():
        happen(life)
        try:
            life.remove(first.pop(), "runc")
            if kind == "runsc" and not life.engine.runs_gvisor:
                assert previous is not None
                life.engine.exec(previous[0])
                continue
            if previous is not None:
                life.remove(life.restart(previous[0], kind), kind)
            previous = life.start(kind), kind
        except AssertionError as error:
            error.add_note(f"after: {step}")
            raise
    assert previous is not None
    life.remove(*previous)


@contextlib.contextmanager
def new_life(engine: str, newer: Path | None = None) -> Iterator[Life]:
    """Yield a daemon whose one name means runc, and an engine that has its stable path; see `new_engine_root`."""
    with new_daemon() as daemon, new_engine_root(newer) as root:
        # A stable path ends in the name alone, and other tests may have containers on this machine.
        name = f"w-{uuid.uuid4().hex[:8]}"
        with ENGINES[engine](root, daemon.data / "runtimes" / name) as running:
            life = Life(daemon, running, name)
            life.write(RUNC)
            daemon.start()
            yield life
