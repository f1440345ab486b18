"""Whether a container has a state or a bundle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.daemon import short_directory
from harness.engine_state import ordinary_user

from runtimed.core.pins import Pin
from runtimed.host.container_states import ContainerStates, bundle_exists, usual_roots


def pin(identifier: str = "a", state: str = "", bundle: str = "") -> Pin:
    return Pin("gvisor", "", identifier, state, bundle, "/usr/bin/runc")


def test_the_usual_roots_are_those_of_root_and_of_a_user() -> None:
    ours = ("/run/runc", "/run/crun", "/run/runsc", "/run/youki")
    assert usual_roots(None) == usual_roots("") == ours
    assert usual_roots("/run/user/7") == (*ours, *(f"/run/user/7{path.removeprefix('/run')}" for path in ours))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("name", "has_state"),
    [
        ("a", True),
        ("a_sandbox:a.state", True),
        ("a_sandbox:other.lock", True),
        ("ab", False),
        ("b_sandbox:a.state", False),
        ("a.state", False),
    ],
)
def test_a_state_is_a_directory_or_the_files_of_runsc(tmp_path: Path, known: bool, name: str, has_state: bool) -> None:
    (tmp_path / name).mkdir()
    states = ContainerStates(["/nowhere", str(tmp_path)])
    assert states.has_state(pin(state=str(tmp_path) if known else "")) is has_state


def test_a_known_root_is_the_only_one_that_counts(tmp_path: Path) -> None:
    (tmp_path / "usual/a").mkdir(parents=True)
    (tmp_path / "known").mkdir()
    assert ContainerStates([str(tmp_path / "usual")]).has_state(pin(state=str(tmp_path / "known"))) is False


def test_a_root_that_is_missing_or_relative_says_nothing(tmp_path: Path) -> None:
    states = ContainerStates([])
    (tmp_path / "file").write_text("")
    for root in (str(tmp_path / "missing"), str(tmp_path / "file"), "tmp", "/nul\0"):
        assert states.has_state(pin(state=root)) is None
    assert ContainerStates([str(tmp_path / "missing")]).has_state(pin()) is False


def test_a_root_that_was_never_made_is_told_by_the_directory_of_bundles(tmp_path: Path) -> None:
    root, bundle = str(tmp_path / "missing"), str(tmp_path / "bundles/a")
    assert ContainerStates([]).has_state(pin(state=root, bundle=bundle)) is None
    (tmp_path / "bundles").mkdir()
    assert ContainerStates([]).has_state(pin(state=root, bundle=bundle)) is False


def test_a_root_that_cannot_be_listed_says_nothing_unless_another_one_tells() -> None:
    with short_directory() as root:
        root.chmod(0o755)
        closed, opened = root / "closed", root / "open"
        (opened / "a").mkdir(parents=True)
        closed.mkdir(0)
        with ordinary_user():
            states = ContainerStates([str(closed), str(opened)])
            assert states.has_state(pin()) is True
            assert states.has_state(pin("b")) is None
            assert states.has_state(pin("b", state=str(closed))) is None


def test_the_states_are_those_of_one_instant(tmp_path: Path) -> None:
    states = ContainerStates([str(tmp_path)])
    assert states.has_state(pin()) is False
    (tmp_path / "a").mkdir()
    assert states.has_state(pin()) is False
    assert ContainerStates([str(tmp_path)]).has_state(pin()) is True


def test_a_bundle_exists_or_not_or_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.symlink("nowhere", tmp_path / "link")
    assert bundle_exists(pin()) is None
    assert bundle_exists(pin(bundle="/\0")) is None
    for name, exists in (("", True), ("link", True), ("none", False), ("file/below", False)):
        assert bundle_exists(pin(bundle=str(tmp_path / name))) is exists
