"""The Ansible role, played by Debian's ansible inside a booted machine that it installs the package on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.booted import CHECKOUT, new_machine
from e2e.harness.installed import Installed
from harness.daemon import put, short_directory

pytestmark = pytest.mark.timeout(3600)
BUILDER = CHECKOUT / "systemd/build-deb"
# Away from /tmp, which is the machine's own.
PLACE = "/var/tmp/ansible"
PACKAGE = f"{PLACE}/runtimed.deb"
DIRECTORY = "/etc/runtimed"
CRUN: dict[str, Any] = {"runtimes": {"crun": {"path": "/usr/bin/crun"}}}
WRAPPED = {"runtimes": {"wrapped": {"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}}}
# The default is a runtime of a drop-in, so that neither file is valid alone.
VARIABLES: dict[str, Any] = {
    "runtimed_package": PACKAGE,
    "runtimed_config": {"default-runtime": "crun"},
    "runtimed_dropins": {"50-crun": CRUN},
}
# Files that are put in place within this time are one change to the daemon, which waits for quiet for longer.
AT_ONCE_S = 0.15
ATTEMPTS = 8
NFD = "/etc/kubernetes/node-feature-discovery/features.d"


class Playing:
    """A machine on which the role is played."""

    def __init__(self, node: Installed) -> None:
        self.node = node
        self.machine = node.machine
        self._files: dict[str, str] = {}

    def restore(self) -> None:
        """Have the files that the role makes of VARIABLES, and no others; the role itself makes them once."""
        if not self._files:
            self.play(VARIABLES)
            self._files = self.files()
        root = self.machine.root / DIRECTORY[1:]
        for name in self.files().keys() - self._files.keys():
            (root / name).unlink()
        for name, text in self._files.items():
            put(root / name, text)
        self.node.ctl("reload")

    def play(self, variables: Mapping[str, object], *options: str, failed: bool = False) -> tuple[int, str]:
        """Play the role with ``variables`` and return the number of changed tasks and the output."""
        (self.machine.root / PLACE[1:] / "variables.json").write_text(json.dumps(variables))
        words = ("ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"@{PLACE}/variables.json", *options)
        done = self.machine.run(*words, f"{PLACE}/play.yml", status=None)
        assert done.returncode == (2 if failed else 0), done.stdout + done.stderr
        recap = re.search(r"changed=(\d+) .*failed=(\d+)", done.stdout)
        assert recap is not None, done.stdout
        assert int(recap[2]) == failed
        assert "[WARNING]" not in done.stderr
        return int(recap[1]), done.stdout

    def files(self) -> dict[str, str]:
        """Return the configuration, with everything else that the role may have left in its directory or beside it."""
        root = self.machine.root / DIRECTORY[1:]
        found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
        return {**found, **{path.name: "left" for path in root.parent.glob(".runtimed*")}}

    def changed_within_s(self, *paths: str) -> float:
        """Return the time between the first and the last change of files and directories of the configuration."""
        root = self.machine.root / DIRECTORY[1:]
        # A rename changes it as well.
        times = [(root / path).stat().st_ctime_ns for path in paths]
        return (max(times) - min(times)) / 1e9

    def reloads(self) -> list[str]:
        """Return the outcome of each reload that was not unchanged, in the order of the journal."""
        return [
            line.text.split()[0] for line in self.node.journal() if re.match(r"reload\.(applied|rejected)", line.text)
        ]


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    with short_directory() as directory:
        # Compressing it takes longer than the rest; test_package.py builds one as it is shipped.
        environ = {**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none"}
        built = subprocess.run([BUILDER, directory], capture_output=True, text=True, env=environ, check=False)
        assert built.returncode == 0, (built.stdout + built.stderr)[-5000:]
        [package] = directory.glob("*.deb")
        yield package


@pytest.fixture(scope="module")
def fresh(package: Path) -> Iterator[Playing]:
    """A machine without runtimed."""
    with new_machine() as machine:
        # It keeps a container image's packages from starting anything.
        (machine.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        place = machine.root / PLACE[1:]
        shutil.copytree(CHECKOUT / "etc/ansible", place)
        (place / "play.yml").write_text("- hosts: all\n  gather_facts: false\n  become: true\n  roles: [runtimed]\n")
        shutil.copy(package, machine.root / PACKAGE[1:])
        machine.boot()
        yield Playing(Installed(machine))


@pytest.fixture
def playing(fresh: Playing) -> Playing:
    """The machine as each test finds it: installed, with the variables of these tests."""
    fresh.restore()
    return fresh


def test_a_first_run_installs_and_configures_and_a_second_one_changes_nothing(fresh: Playing) -> None:
    before = fresh.files()
    changed, _ = fresh.play(VARIABLES, "--check")
    assert (changed, fresh.files()) == (1, before)
    changed, _ = fresh.play(VARIABLES)
    assert changed == 2
    assert {name: json.loads(text) for name, text in fresh.files().items()} == {
        "daemon.json": {"default-runtime": "crun"},
        "daemon.json.d/50-crun.json": CRUN,
    }
    assert fresh.node.client().resolve()["runtime"] == "crun"
    files = fresh.node.run(
        "stat", "-c", "%a %U %G", f"{DIRECTORY}/daemon.json", f"{DIRECTORY}/daemon.json.d/50-crun.json"
    )
    assert files.stdout.splitlines() == ["644 root root"] * 2
    number, reloads = fresh.node.number(), fresh.reloads()
    assert fresh.play(VARIABLES)[0] == 0
    assert fresh.play(VARIABLES, "--check")[0] == 0
    assert (fresh.node.number(), fresh.reloads()) == (number, reloads)


def test_changed_variables_are_one_reload_also_when_no_single_file_is_valid_alone(playing: Playing) -> None:
    # The default changes in the main file, its runtime comes with a drop-in, and the old one goes with another.
    dropins = {"50-crun": None, "60-more": WRAPPED}
    variables = {**VARIABLES, "runtimed_config": {"default-runtime": "wrapped"}, "runtimed_dropins": dropins}
    before = playing.files()
    changed, output = playing.play(variables, "--check", "--diff")
    assert (changed, playing.files()) == (2, before)
    assert '+    "default-runtime": "wrapped"' in output
    for attempt in range(ATTEMPTS):
        if attempt:
            playing.restore()
        number, reloads = playing.node.number(), playing.reloads()
        assert playing.play(variables)[0] == 2
        took_s = playing.changed_within_s("daemon.json", "daemon.json.d/60-more.json", "daemon.json.d")
        if took_s < AT_ONCE_S:
            break
    else:
        raise AssertionError(f"{ATTEMPTS} times not at once: the last time it took {took_s} s")
    assert (playing.node.number(), playing.reloads()) == (number + 1, [*reloads, "reload.applied"])
    assert playing.node.client().resolve()["runtime"] == "wrapped"
    assert sorted(playing.files()) == ["daemon.json", "daemon.json.d/60-more.json"]
    assert playing.play(variables)[0] == 0


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_a_broken_dropin_fails_the_run_with_its_line_before_any_file_is_in_place(
    playing: Playing, options: tuple[str, ...]
) -> None:
    before, number, reloads = playing.files(), playing.node.number(), playing.reloads()
    dropins = {"50-crun": WRAPPED, "60-more": {"runtimes": {"broken": {"pathh": "/usr/bin/crun"}}}}
    _, output = playing.play({**VARIABLES, "runtimed_dropins": dropins}, *options, failed=True)
    assert f'"{DIRECTORY}/daemon.json.d/60-more.json:4:13: /runtimes/broken/pathh: ' in output
    assert (playing.files(), playing.node.number(), playing.reloads()) == (before, number, reloads)
    assert playing.node.client().status()["health"]["status"] == "ok"


def test_files_of_others_are_kept_and_checked_with_those_of_the_role(playing: Playing) -> None:
    other = playing.machine.root / f"{DIRECTORY[1:]}/daemon.json.d/70-other.json"
    put(other, WRAPPED)
    # The main file is not the role's this time, and the default is a runtime of the other file.
    variables = {"runtimed_dropins": {"60-more": {"default-runtime": "wrapped"}}}
    assert playing.play(variables)[0] == 1
    assert playing.node.client().resolve()["runtime"] == "wrapped"
    assert json.loads(other.read_text()) == WRAPPED
    put(other, "{")
    _, output = playing.play(variables, "--check", failed=True)
    assert f"{DIRECTORY}/daemon.json.d/70-other.json:1:" in output


def test_a_file_that_others_can_write_gets_its_mode_back(playing: Playing) -> None:
    playing.node.run("chmod", "0666", f"{DIRECTORY}/daemon.json")
    assert playing.play(VARIABLES)[0] == 1
    assert playing.node.run("stat", "-c", "%a", f"{DIRECTORY}/daemon.json").stdout == "644\n"
    playing.node.ctl("reload")


def test_a_reload_that_fails_fails_the_run_with_the_report_until_it_succeeds(playing: Playing) -> None:
    variables = {**VARIABLES, "runtimed_dropins": {"50-crun": CRUN, "60-more": WRAPPED}}
    with playing.node.dropin("ReadOnlyPaths=/var/lib/runtimed/generations"):
        playing.node.systemctl("restart", "runtimed")
        _, output = playing.play(variables, failed=True)
        assert "/var/lib/runtimed/generations" in output
        # No file changes in this run; the daemon still lacks the new table.
        playing.play(variables, failed=True)
    playing.node.systemctl("restart", "runtimed")
    assert playing.play(variables)[0] == 0
    assert playing.node.client().resolve("wrapped")["runtime"] == "wrapped"


def test_a_node_without_runtimed_and_without_a_package_fails_the_run(fresh: Playing) -> None:
    program = fresh.machine.root / "usr/bin/runtimectl"
    hidden = program.with_suffix(".hidden")
    if program.exists():
        program.rename(hidden)
    try:
        assert "set runtimed_package" in fresh.play({}, "--check", failed=True)[1]
    finally:
        if hidden.exists():
            hidden.rename(program)


def test_a_name_that_is_no_dropin_is_refused(fresh: Playing) -> None:
    names = ("../x", ".hidden", "")
    _, output = fresh.play({"runtimed_dropins": dict.fromkeys(names, CRUN)}, failed=True)
    assert output.count("the daemon reads no such file") == len(names)


def test_the_files_of_engines_are_written_once_and_kept_in_step(playing: Playing) -> None:
    playing.node.run("mkdir", "-p", NFD)
    variables = {**VARIABLES, "runtimed_exports": ["nfd"]}
    assert playing.play(variables)[0] == 1
    file = playing.machine.root / NFD[1:] / "runtimed"
    assert "runtime-crun=true\n" in file.read_text()
    assert playing.play(variables)[0] == 0
    synced = {**VARIABLES, "runtimed_sync": ["nfd"], "runtimed_dropins": {"50-crun": CRUN, "60-more": WRAPPED}}
    assert playing.play(synced)[0] == 2
    playing.machine.eventually(lambda: "runtime-wrapped=true\n" in file.read_text(), "the sync of a new runtime")
    assert playing.play(synced)[0] == 0


def test_the_example_is_a_valid_playbook(fresh: Playing) -> None:
    words = ("ansible-playbook", "-i", "localhost,", "--syntax-check", f"{PLACE}/site.yml")
    assert fresh.machine.run(*words).stderr == ""
