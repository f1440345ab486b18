"""The configuration that a start uses: that of the files, that of the last generation, or only flags and defaults."""

from __future__ import annotations

import json

import pytest
from harness.daemon import new_daemon
from harness.generation import manifest_of

from runtimed.core.config import Config
from runtimed.core.configuration.inputs import Documents, Source
from runtimed.core.history.manifest import Manifest
from runtimed.core.plan import BootContext, plan
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host
from runtimed.daemon.arguments import parse_arguments
from runtimed.daemon.startup import find_configuration

MAIN = "/etc/runtimed/daemon.json"
ARGUMENTS = parse_arguments(["--config", MAIN], {}, 0)
OLD = b'{"runtimes": {"old": {"path": "/bin/old"}}}'
NEW = b'{"runtimes": {"new": {"path": "/bin/new"}}}'
BROKEN = b'{"runtimes": {"new": {}}}'


def documents(text: bytes | None, main: str = MAIN) -> Documents:
    return Documents(main, None if text is None else Source(main, text))


def planned(found: Documents, parsed: Config | None = None) -> Generation:
    defaults = ARGUMENTS.defaults
    host = Host(Facts(cgroup2=True, systemd=True, ramdisk=False), defaults.data_root, defaults.exec_root)
    context = BootContext(found.main_path, ARGUMENTS.flags, defaults, host, defaults)
    return plan(found, context, 1, None, None, parsed).generation


def last_generation(main: str = MAIN) -> Manifest:
    return manifest_of(planned(documents(OLD, main)))


@pytest.mark.parametrize(
    ("text", "last", "used"),
    [
        (NEW, last_generation(), ["new"]),
        (NEW, None, ["new"]),
        (BROKEN, last_generation(), ["old"]),
        (BROKEN, last_generation("/other.json"), []),
        (BROKEN, None, []),
        # The main file is lost.
        (None, last_generation(), ["old"]),
        (None, last_generation("/other.json"), []),
    ],
)
def test_the_last_good_generation_of_the_same_file_stands_in_for_a_broken_configuration(
    text: bytes | None, last: Manifest | None, used: list[str]
) -> None:
    assert list(find_configuration(documents(text), ARGUMENTS, last, OLD).runtimes) == used


def test_a_start_parses_each_entry_once() -> None:
    names = [f"r{number}" for number in range(10)]
    found = documents(json.dumps({"runtimes": {name: {"path": f"/bin/{name}"} for name in names}}).encode())
    first = find_configuration(found, ARGUMENTS, None, b"")
    second = find_configuration(found, ARGUMENTS, last_generation(), OLD, first)
    third = planned(found, second).config
    assert all(first.runtimes[name] is second.runtimes[name] is third.runtimes[name] for name in names)


# Counts the parsed entries of `runtimes` in the file "count".
COUNTING = """
import sys
from runtimed import __main__
from runtimed.core.configuration.unchanged import EntryPlaces

class Counting(EntryPlaces):
    __slots__ = ()
    def add(self, *entry):
        print("entry", file=open("count", "a"))
        super().add(*entry)

import runtimed.core.configuration.unchanged
runtimed.core.configuration.unchanged.EntryPlaces = Counting
sys.exit(__main__.main())
"""


def test_a_daemon_parses_each_entry_once_when_it_starts_and_starts_again() -> None:
    with new_daemon() as daemon:
        daemon.program = ["-c", COUNTING]
        daemon.write({"runtimes": {f"r{number}": {"path": f"/bin/{number}"} for number in range(10)}})
        for _ in range(2):
            daemon.start()
            assert (daemon.root / "count").read_text().count("entry") == 10
            daemon.stop()
            (daemon.root / "count").unlink()
