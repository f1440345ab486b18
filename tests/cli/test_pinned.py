"""Tests of runtimectl with a container that a launcher has pinned."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import RunningDaemon, new_daemon, put_executable, wait_until
from harness.runtimectl import fields_of, runtimectl

from runtimed.core.pins import Pin
from runtimed.core.table.wrapper import make_wrapper
from runtimed.host.pins import PinDirectory

BEFORE, AFTER = "old", "new"


@pytest.fixture(scope="module")
def pinned() -> Iterator[RunningDaemon]:
    """Yield a daemon whose runtime "x" has another binary than when the container "web" was created through it."""
    with new_daemon() as made:
        for name in (BEFORE, AFTER):
            put_executable(made.root / name)
        made.write({"runtimes": {"x": {"path": str(made.root / BEFORE)}}})
        made.start()
        bundle = made.root / "bundle"
        bundle.mkdir()
        state = made.root / "states"
        (state / "web").mkdir(parents=True)
        path = runtimectl("resolve", "x", "--format", "path", on=made).stdout.strip()
        subprocess.run([path, "--root", str(state), "create", "--bundle", str(bundle), "web"], check=True)
        made.write({"runtimes": {"x": {"path": str(made.root / AFTER)}}})
        yield made


def text(made: RunningDaemon) -> str:
    return f"x: 1 container keeps generation 1's {made.root / BEFORE}"


def test_plan_reload_and_status_name_the_container_that_keeps_the_old_binary(pinned: RunningDaemon) -> None:
    # The watcher may have applied the edit before. On a busy machine the look at the containers may take too long.
    wait_until(lambda: text(pinned) in runtimectl("plan", on=pinned).stdout.splitlines(), "a plan that names it")
    wait_until(lambda: text(pinned) in runtimectl("reload", on=pinned).stdout.splitlines(), "a report that names it")
    assert pinned.status()["last_reload"]["kept"] == [
        {"runtime": "x", "containers": 1, "generation": 1, "binary": str(pinned.root / BEFORE)}
    ]
    assert [text(pinned)] in [line.get("kept") for line in pinned.log()]


def test_containers_and_explain_list_the_container(pinned: RunningDaemon) -> None:
    assert pinned.reload()["generation"] == 2
    (container,) = json.loads(runtimectl("containers", "--json", on=pinned).stdout)["containers"]
    assert container == {
        "id": "web",
        "root": str(pinned.root / "states"),
        "runtime": "x",
        "generation": 1,
        "binary": str(pinned.root / BEFORE),
        "outdated": True,
        "bundle": str(pinned.root / "bundle"),
    }
    assert "web *" in runtimectl("containers", on=pinned).stdout
    (line,) = fields_of(runtimectl("explain", "x", on=pinned).stdout)["containers"]
    assert line == f"web in {pinned.root}/states keeps {pinned.root / BEFORE} of generation 1"


def test_check_names_the_container_that_would_keep_the_old_binary(pinned: RunningDaemon) -> None:
    roots = {"data-root": str(pinned.data), "exec-root": str(pinned.socket.parent)}
    for binary, kept in (
        (BEFORE, []),
        (AFTER, [f"x: 1 container keeps an earlier generation's {pinned.root / BEFORE}"]),
    ):
        document = {"runtimes": {"x": {"path": str(pinned.root / binary)}}, **roots}
        run = runtimectl("check", "-", input=json.dumps(document))
        assert (run.returncode, run.stdout.splitlines()[1:]) == (0, kept)


def test_check_finds_wrappers_in_the_configured_data_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    definition = {"path": "/usr/bin/true", "runtimeArgs": ["--a"]}
    target = f"{tmp_path}/data/wrappers/{make_wrapper('x', '/usr/bin/true', ['--a']).file}"
    (tmp_path / "exec").mkdir(mode=0o700)
    pins = PinDirectory(f"{tmp_path}/exec/pins")
    assert pins.make() is None
    assert pins.add(Pin("x", "/r", "web", "", "", target)) is None
    roots = {"data-root": f"{tmp_path}/data", "exec-root": f"{tmp_path}/exec"}
    for args, kept in (
        (["--a"], []),
        (["--b"], [f"x: 1 container keeps an earlier generation's {target}"]),
    ):
        document = {"runtimes": {"x": {**definition, "runtimeArgs": args}}, **roots}
        run = runtimectl("check", "-", input=json.dumps(document))
        assert (run.returncode, run.stdout.splitlines()[1:]) == (0, kept)


def test_a_restart_knows_the_container(pinned: RunningDaemon) -> None:
    assert pinned.reload()["generation"] == 2
    pinned.stop()
    pinned.start()
    found = wait_until(lambda: pinned.status()["containers"]["pinned"], "the first look")
    assert found == 1
    assert fields_of(runtimectl("status", on=pinned).stdout)["kept"] == [text(pinned)]
