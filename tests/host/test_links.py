"""Tests of the two link directories: a publish changes the one that is not current, and only the links that differ."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from harness.data_root import DataRoot, stable_scripts, stable_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.errors import StoreFailed
from runtimed.core.table.generation import links_of
from runtimed.host.store.links import LinkDirectories, Links
from runtimed.host.store.paths import Paths

FILES = st.sampled_from([f"x-{digit * 32}" for digit in "0123"])
TABLES = st.dictionaries(st.sampled_from("abcdef"), FILES, max_size=6)


def links_in(directory: Path) -> dict[str, str]:
    return {name: os.readlink(directory / name) for name in os.listdir(directory)}


def targets(table: Mapping[str, str]) -> dict[str, str]:
    return {link: f"../../wrappers/{file}" for link, file in table.items()}


class Steps:
    """Counts the steps, and fails at one of them."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.fail_at: int | None = None
        self.act: Callable[[], object] = lambda: None

    def __call__(self, step: str) -> None:
        self.act()
        if len(self.taken) == self.fail_at:
            self.fail_at = None
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.taken.append(step)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(TABLES, st.none() | st.integers(0, 4), st.booleans()), max_size=8))
def test_a_directory_has_the_wanted_links_whatever_it_had(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[str, str], int | None, bool]]
) -> None:
    data = tmp_path_factory.mktemp("data")
    paths, at_step = Paths(str(data)), Steps()
    found = LinkDirectories(paths, Links(None, {}, {}))
    for table, fail_at, restart in steps:
        if restart:
            found = LinkDirectories(paths, found.current)
        at_step.taken, at_step.fail_at = [], fail_at
        try:
            found.current = Links(found.write(table, at_step), table, {})
        except OSError:
            at_step.fail_at = None
        if found.current.directory is not None:
            # A failure leaves the directory in use as it is.
            assert links_in(data / "links" / found.current.directory) == targets(found.current.links)


def test_a_change_costs_the_differences_from_the_generation_before_the_last(root: DataRoot) -> None:
    steps = Steps()
    root.at_step = steps  # type: ignore[method-assign]
    root.open()
    table = {f"n{number}": ["0"] for number in range(20)}
    for number in range(6):
        steps.taken = []
        table[f"n{number}"] = [str(number + 1)]
        root.make_current(root.build(**table), retain=16)
        count = steps.taken.count("link")
        assert count == (20 if number < 2 else 2), "one runtime changed, and another in the publish before"
        assert os.readlink(root.path / f"generations/{number + 1:08d}/runtimes") == f"../../links/{'ab'[number % 2]}"


def test_a_reader_on_its_way_through_the_other_directory_misses_no_link(root: DataRoot) -> None:
    first = root.publish(a=["1"], b=["1"], c=["1"])
    slow = os.open(root.path / "runtimes", os.O_RDONLY | os.O_DIRECTORY)
    root.publish(a=["1"], b=["1"], c=["1"], d=["1"])
    missed: list[str] = []
    steps = Steps()
    steps.act = lambda: missed.extend(link for link in "abc" if not os.path.exists(f"/proc/self/fd/{slow}/{link}"))
    root.store._at_step = steps
    third = root.publish(a=["3"], b=["3"], d=["3"])
    assert steps.taken.count("link") == 3
    assert missed == []
    assert root.current() == {**stable_texts(first), **stable_texts(third)}
    os.close(slow)


CODE = """
import os, signal, sys
sys.path[:0] = {path!r}
from harness.data_root import DataRoot, stable_scripts, stable_texts
from pathlib import Path
root = DataRoot(Path({root!r}))
left = {ordinal}
def step(name):
    global left
    left -= name in ("link", "unlink")
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
root.at_step = step
root.open()
root.make_current(root.build(a=["3"], b=["3"], d=["3"], e=["3"]), retain=16)
"""


@pytest.mark.parametrize("ordinal", range(4))
def test_a_kill_at_any_link_of_a_half_changed_directory_is_made_good(root: DataRoot, ordinal: int) -> None:
    root.publish(a=["1"], b=["1"], c=["1"])
    old = root.publish(a=["2"], b=["1"], c=["1"])
    before = links_in(root.path / "links/a")
    root.store.close()
    code = CODE.format(path=sys.path, root=str(root.path), ordinal=ordinal)
    died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert died.returncode == -signal.SIGKILL
    assert sum(links_in(root.path / "links/a").get(name) != before.get(name) for name in "abde") == ordinal
    recovered = root.open()
    assert (recovered.published, recovered.faults, root.current()) == (True, (), stable_texts(old))
    new = root.publish(a=["4"], b=["1"])
    assert root.current() == {**stable_texts(old), **stable_texts(new)}
    assert not root.store.seems_damaged()


def remove(link: Path) -> None:
    link.unlink()


def mislead(link: Path) -> None:
    link.unlink()
    link.symlink_to("/bin/true")


def replace_by_a_file(link: Path) -> None:
    link.unlink()
    link.write_text("x")


def replace_by_a_directory(link: Path) -> None:
    link.unlink()
    (link / "below").mkdir(parents=True)


def add(link: Path) -> None:
    link.with_name("foreign").symlink_to("/bin/true")
    link.with_name(".tmp-link").symlink_to("/bin/true")


def replace_the_directory(link: Path) -> None:
    for each in link.parent.iterdir():
        each.unlink()
    link.parent.rmdir()
    link.parent.symlink_to("/")


def remove_the_directory(link: Path) -> None:
    for each in link.parent.iterdir():
        each.unlink()
    link.parent.rmdir()


@pytest.mark.parametrize(
    "change",
    [remove, mislead, replace_by_a_file, replace_by_a_directory, add, replace_the_directory, remove_the_directory],
)
def test_a_directory_that_others_changed_is_put_in_order_by_the_next_publish(
    root: DataRoot, change: Callable[[Path], None]
) -> None:
    root.publish(a=["1"], b=["1"])
    root.publish(a=["1"], b=["2"])
    change(root.path / "links/a/a")
    new = root.publish(a=["1"], b=["3"])
    assert root.current() == stable_texts(new)
    assert links_in(root.path / "links/a") == targets(links_of(new.runtimes.values()))
    assert (root.store.seems_damaged(), root.open().published) == (False, True)


def test_a_link_that_another_process_removes_during_a_publish_makes_no_publish_fail(root: DataRoot) -> None:
    root.publish(a=["1"], b=["1"])
    root.publish(a=["1"])
    root.publish(a=["1"], b=["1"])
    found = LinkDirectories(Paths(str(root.path)), root.store._links.current)
    other = next(each for each in "ab" if each != found.current.directory)

    def at_step(step: str) -> None:
        if step == "unlink":
            (root.path / "links" / other / "b").unlink()

    assert found.write({"a": found.current.links["a"]}, at_step) == other
    assert links_in(root.path / "links" / other).keys() == {"a"}


def test_the_directory_that_the_disk_names_is_not_changed(root: DataRoot) -> None:
    first = root.publish(a=["1"])
    root.publish(a=["2"])
    # Someone rolled the link back, and no look has noticed it yet.
    (root.path / "runtimes").unlink()
    (root.path / "runtimes").symlink_to("generations/00000001/runtimes")
    root.fail_at = ("manifest",)
    with pytest.raises(StoreFailed):
        root.publish(a=["3"])
    assert root.current() == stable_texts(first)


def test_a_link_to_a_collected_launcher_leaves_both_directories(root: DataRoot) -> None:
    dropped = root.publish(a=["1"], b=["1"])
    root.publish(b=["1"])
    root.publish(b=["2"])
    assert all((root.path / f"links/{name}/a").is_symlink() for name in "ab")
    root.now += 3601
    root.publish(b=["3"], retain=1)
    root.now += 61
    root.publish(b=["4"], retain=1)
    root.now += 3601
    root.publish(b=["5"], retain=1)
    assert root.store.remove_wrapper(stable_scripts(dropped)["a"].file) is None
    assert not (root.path / "runtimes/a").is_symlink()
    for word in "67":
        root.publish(b=[word])
    assert not any((root.path / f"links/{name}/a").is_symlink() for name in "ab")
