"""Files of engines are the old or the new ones, wherever ``runtimectl export --write`` is interrupted.

As root, in a mount namespace with another /etc. Where an engine has a program here, its own check runs. A seeded sample
of the system calls is tried; RUNTIMED_TEST_FAULTS=all tries every one, and RUNTIMED_TEST_SEED repeats a sample.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.engine_root import EngineRoot, new_engine_root
from e2e.harness.syscalls import Call, from_the_beginning, kill_at, read_start
from harness.daemon import PATIENCE_S, RunningDaemon, listing, new_daemon, wait_until

from runtimed.core.engines import NAMES, load_engine

pytestmark = pytest.mark.timeout(900)

EVERYTHING = os.environ.get("RUNTIMED_TEST_FAULTS") == "all"
SEED = int(os.environ.get("RUNTIMED_TEST_SEED") or time.time())
# How many calls are tried besides the renames, where not all are.
KILLS = 4
STAGING = ".runtimectl.new"
OLD = {"runtimes": {"first": {"path": "/bin/true"}, "kept": {"path": "/bin/true"}}}
NEW = {"runtimes": {"second": {"path": "/bin/true"}, "kept": {"path": "/bin/true"}}}
# Files that an administrator has, where an engine needs one to read the file of runtimectl.
GIVEN = {
    "containerd": {"config.toml": 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n'},
    "docker": {"daemon.json": '{\n  "log-driver": "journald"\n}\n'},
}
# Another /etc, so that no directory is made in that of the machine, and a small disk for the engine's directory.
MOUNTS = """
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc
rm -rf "$1"
mkdir -p "$1"
mount -t tmpfs -o mode=0755,size=1m none "$1"
"""
# Engines with a file on the node.
ENGINES = [name for name in NAMES if load_engine(name).writing is not None]


@dataclass(frozen=True)
class Site:
    """The directory of an engine in a mount namespace, and a daemon with a table."""

    name: str
    root: EngineRoot
    daemon: RunningDaemon

    @property
    def writing(self) -> Any:
        return load_engine(self.name).writing

    @property
    def directory(self) -> Path:
        """The engine's directory as this process sees it."""
        return self.root.path(self.writing.directory)

    @property
    def file(self) -> Path:
        return self.root.path(self.writing.path)

    def command(self, *words: str, before: Sequence[str] = ()) -> list[str]:
        socket = f"RUNTIMED_SOCKET={self.daemon.socket}"
        return [*self.root.enter, "env", socket, *before, sys.executable, "-m", "runtimed.cli.ctl", *words]

    def run(self, *words: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        command = self.command(*words, before=before)
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)

    def write(self) -> subprocess.CompletedProcess[str]:
        return self.run("export", self.name, "--write")

    def must_write(self) -> None:
        run = self.write()
        assert run.returncode == 0, run.stderr

    def use(self, table: object) -> None:
        """Have the daemon publish ``table``."""
        self.daemon.write(table)
        assert self.daemon.reload()["outcome"] in ("applied", "unchanged")

    def contents(self) -> dict[str, bytes]:
        """Return the content of each file below the engine's directory, without those of a staging directory."""
        files = [path for path in sorted(self.directory.rglob("*")) if path.is_file()]
        paths = {str(path.relative_to(self.directory)): path for path in files}
        return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(STAGING)}

    def reset(self, contents: dict[str, bytes]) -> None:
        """Make the files those of ``contents``."""
        assert self.root.run("find", self.writing.directory, "-mindepth", "1", "-delete").returncode == 0
        for name, data in contents.items():
            path = self.directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)


@contextlib.contextmanager
def new_site(name: str) -> Iterator[Site]:
    with new_engine_root() as root, new_daemon() as daemon:
        directory = load_engine(name).writing.directory  # type: ignore[union-attr]  # ENGINES have one
        mounted = root.run("sh", "-ec", MOUNTS, "sh", directory)
        assert mounted.returncode == 0, mounted.stderr
        daemon.write(OLD)
        site = Site(name, root, daemon.start())
        for given, text in GIVEN.get(name, {}).items():
            (site.directory / given).write_text(text)
        yield site


@pytest.fixture(params=ENGINES)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Yield the site of an engine whose files have been written for OLD."""
    with new_site(request.param) as found:
        run = found.write()
        assert run.returncode == 0, run.stderr
        assert f"wrote {found.writing.path}\n" in run.stdout
        yield found


def states(site: Site) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the files for OLD, which are there now, and those for NEW; the daemon then has NEW."""
    old = site.contents()
    site.use(NEW)
    site.must_write()
    new = site.contents()
    site.reset(old)
    assert b"second" in new[str(site.file.relative_to(site.directory))]
    return old, new


def test_the_file_is_there_with_its_mode_and_an_equal_one_is_not_touched(site: Site) -> None:
    assert b"first" in site.file.read_bytes()
    assert site.file.stat().st_mode & 0o7777 == 0o644
    before = listing(site.directory)
    run = site.write()
    assert (run.returncode, run.stdout) == (0, f"unchanged {site.writing.path}\n")
    assert listing(site.directory) == before
    assert STAGING not in os.listdir(site.directory)


def test_a_kill_at_any_call_leaves_the_old_files_or_the_new_ones_and_the_next_run_finishes(site: Site) -> None:
    old, new = states(site)
    log = site.daemon.root / "strace"
    write = ("export", site.name, "--write")
    recorded = site.run(
        *write, before=from_the_beginning(log, "-e", "trace=mkdir,rename,unlink,rmdir,openat,write,fsync")
    )
    assert recorded.returncode == 0, recorded.stderr
    wait_until(lambda: "+++ exited" in log.read_text().splitlines()[-1], "the log")
    # The paths are those of the namespace, and programs of the engine change nothing.
    points = [call for call in read_start(log, Path(site.writing.directory)) if call.name != "openat"]
    assert {"mkdir", "rename", "fsync", "rmdir"} <= {call.name for call in points}
    chosen = sample(points)
    outcomes: list[str] = []
    for call in chosen:
        site.reset(old)
        killed = site.run(*write, before=from_the_beginning(log, *kill_at(call)))
        assert killed.returncode == -signal.SIGKILL, (call, killed)
        outcomes.append(outcome(site, old, new, call))
        run = site.write()
        assert run.returncode == 0, (call, run.stderr)
        assert site.contents() == new, call
        assert STAGING not in os.listdir(site.directory), call
    # The file of the engine changes once.
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {"old", "new"}


def sample(points: Sequence[Call]) -> list[Call]:
    """Return some of ``points`` in their order, with each rename and the call after it."""
    renames = [number for number, call in enumerate(points) if call.name == "rename"]
    chosen = {*renames, *(number + 1 for number in renames)}
    others = sorted(set(range(len(points))) - chosen)
    chosen.update(others if EVERYTHING else random.Random(SEED).sample(others, KILLS))
    print(f"seed {SEED}")  # noqa: T201 - for pytest to show
    return [points[number] for number in sorted(chosen)]


def outcome(site: Site, old: dict[str, bytes], new: dict[str, bytes], call: Call) -> str:
    """Return which of both states the engine's own file has."""
    name = str(site.file.relative_to(site.directory))
    found = site.contents()
    assert found[name] in (old[name], new[name]), (call, found)
    # A record of runtimectl's beside it has states of its own.
    others = GIVEN.get(site.name, {}).keys() - {name}
    assert [found[each] for each in others] == [old[each] for each in others], call
    # There is nothing else that an engine could read.
    assert found.keys() <= old.keys() | new.keys(), call
    return "old" if found[name] == old[name] else "new"


def test_a_full_disk_leaves_the_old_files_and_the_next_run_finishes(site: Site) -> None:
    old, new = states(site)
    filler = site.directory / "filler"
    outcomes: list[int] = []
    # So many pages are left free. The last is more than a check needs.
    for pages in (0, 1, 2, 3, 5, 128):
        site.reset(old)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        os.truncate(filler, max(0, filler.stat().st_size - pages * 4096))
        run = site.write()
        outcomes.append(run.returncode)
        found = site.contents()
        del found["filler"]
        if run.returncode == 0:
            assert found == new
        else:
            assert "no space left on device" in run.stderr.lower()
            name = str(site.file.relative_to(site.directory))
            assert found[name] == old[name]
        assert STAGING not in os.listdir(site.directory)
        filler.unlink()
        site.must_write()
        assert site.contents() == new
    assert outcomes[0] == 1
    assert outcomes[-1] == 0


def test_a_file_that_is_a_mount_is_refused_with_the_reason(site: Site) -> None:
    old, _ = states(site)
    site.reset(old)
    path = site.writing.path
    assert site.root.run("mount", "--bind", path, path).returncode == 0
    run = site.write()
    assert run.returncode == 1
    assert f"{path}: cannot be read or written: " in run.stderr
    assert "it or its directory is a mount" in run.stderr
    assert site.file.read_bytes() == old[str(site.file.relative_to(site.directory))]
    assert site.root.run("umount", path).returncode == 0
    site.must_write()


def test_a_read_only_disk_is_told_and_an_equal_file_needs_no_write(site: Site) -> None:
    directory = site.writing.directory
    assert site.root.run("mount", "-o", "remount,ro", directory).returncode == 0
    assert site.write().returncode == 0
    site.use(NEW)
    run = site.write()
    assert (run.returncode, run.stdout) == (1, "")
    assert "read-only file system" in run.stderr.lower()
    assert site.root.run("mount", "-o", "remount,rw", directory).returncode == 0
    site.must_write()


def test_runs_at_the_same_time_leave_the_new_files(site: Site) -> None:
    _, new = states(site)
    command = site.command("export", site.name, "--write")
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(5)]
    results = [run.communicate(timeout=PATIENCE_S) for run in runs]
    assert [run.returncode for run in runs] == [0] * 5, results
    assert site.contents() == new
    assert STAGING not in os.listdir(site.directory)
    # One has written, and the others that waited for it have seen that the files are equal.
    path = site.writing.path
    assert sum(f"wrote {path}\n" in out for out, _ in results) == 1, results
    assert sum(f"unchanged {path}\n" in out for out, _ in results) == 4


def test_a_link_in_place_of_the_file_is_refused(site: Site) -> None:
    site.use(NEW)
    managed = site.directory / "managed"
    site.file.rename(managed)
    site.file.symlink_to(f"{site.writing.directory}/managed")
    before = listing(site.directory / "managed")
    run = site.write()
    assert run.returncode == 1
    assert f"{site.writing.path}: " in run.stderr
    assert "is a symbolic link to" in run.stderr
    assert listing(site.directory / "managed") == before


def test_a_file_of_another_owner_is_refused(site: Site) -> None:
    text = '{"runtimes": {"second": {"path": "/mine"}}}\n' if site.name == "docker" else "# mine\n"
    site.file.write_text(text)
    site.use(NEW)
    run = site.write()
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(f"{site.writing.path}:1:")
    assert site.file.read_text() == text


def test_files_that_others_can_change_are_refused(site: Site) -> None:
    site.use(NEW)
    old = site.contents()
    for path in {site.directory, site.file.parent, site.file}:
        mode = path.stat().st_mode
        path.chmod(0o777)
        run = site.write()
        assert (run.returncode, run.stdout) == (1, "")
        assert "can be changed by its group" in run.stderr
        assert "(owner: user id 0, mode 0777)" in run.stderr
        path.chmod(mode)
    assert site.contents() == old


def test_an_engine_that_is_not_installed_gets_no_file(site: Site) -> None:
    directory = site.writing.directory
    for words in (("umount", directory), ("rmdir", directory)):
        assert site.root.run(*words).returncode == 0
    run = site.write()
    assert (run.returncode, run.stdout) == (1, "")
    assert f"{directory}: does not exist, so {site.name} is not installed on this node" in run.stderr
    assert not site.directory.exists()


def test_json_has_the_paths_and_no_problem(site: Site) -> None:
    site.use(NEW)
    run = site.run("export", site.name, "--write", "--json")
    found = json.loads(run.stdout)
    assert (run.returncode, run.stderr) == (0, "")
    assert site.writing.path in found["written"]
    assert found["problems"] == []
