"""Opens stores on data roots of tests, and publishes tables in them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.history.manifest import rebuild_scripts
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host
from runtimed.core.table.script import Script
from runtimed.host.store import Recovered, Store


class DataRoot:
    """A data root, the store that has it open, and generations for it.

    ``steps`` are those that the store has taken; it fails at the steps ``fail_at`` as on a full disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.steps: list[str] = []
        self.fail_at: tuple[str, ...] = ()
        self.store = self.new_store()

    def new_store(self) -> Store:
        return Store(str(self.path), clock=lambda: self.now, monotonic_s=lambda: self.now, at_step=self.at_step)

    def at_step(self, step: str) -> None:
        self.steps.append(step)
        if step in self.fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def open(self) -> Recovered:
        """Open the data root as another process does."""
        self.store.close()
        self.store = self.new_store()
        return self.store.open(rebuild_scripts)

    def build(self, **runtimes: list[str]) -> Generation:
        """Return a generation whose runtimes have these arguments."""
        text = json.dumps({"runtimes": {n: {"path": f"/bin/{n}", "runtimeArgs": a} for n, a in runtimes.items()}})
        defaults = Settings(str(self.path), "/exec", ("unix:///exec/s",))
        config = parse_configuration(Documents("/etc/d.json", Source("/etc/d.json", text.encode())), Flags(), defaults)
        host = Host(Facts(cgroup2=False, systemd=False, ramdisk=False), str(self.path), "/exec")
        return build_generation(config, host, self.store.next_number)

    def make_current(self, generation: Generation, *, retain: int) -> str | None:
        self.store.swap(self.store.stage(generation))
        return self.store.settle(retain)

    def publish(self, *, retain: int = 16, **runtimes: list[str]) -> Generation:
        """Build such a generation, make it current, and return it."""
        generation = self.build(**runtimes)
        assert self.make_current(generation, retain=retain) is None
        return generation

    def current(self) -> dict[str, bytes]:
        """Return the texts at the stable paths by name."""
        directory = self.path / "runtimes"
        return {name: (directory / name).read_bytes() for name in sorted(os.listdir(directory))}

    def listing(self) -> dict[str, tuple[int, int, int]]:
        """Return the status of everything below the data root."""
        found = {}
        for path in sorted(self.path.rglob("*")):
            state = path.lstat()
            found[str(path.relative_to(self.path))] = (state.st_ino, state.st_mtime_ns, state.st_size)
        return found

    def retained(self) -> list[int]:
        """Return the numbers of the retained generations."""
        return [summary.number for summary in self.store.retained.summaries()]


@contextlib.contextmanager
def open_data_root(path: Path) -> Iterator[DataRoot]:
    """Yield the new data root ``path``, opened."""
    path.mkdir()
    found = DataRoot(path)
    found.open()
    try:
        yield found
    finally:
        found.store.close()


def stable_texts(generation: Generation) -> dict[str, bytes]:
    """Return the texts that the stable paths lead to, by name."""
    return {link: script.text for link, script in stable_scripts(generation).items()}


def stable_scripts(generation: Generation) -> dict[str, Script]:
    """Return the launchers that the stable paths lead to, by name."""
    return {link: r.launcher for link, r in generation.launchers.items() if r.launcher is not None}


def launcher(generation: Generation) -> Script:
    """Return the only launcher."""
    (found,) = stable_scripts(generation).values()
    return found
