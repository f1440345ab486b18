"""What is left of a test: it is found by its id and removed, and no other thing is touched."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, ordinary_user, wait_until

from runtimed.core.proof.bundle import Node
from runtimed.core.proof.engine import Traces
from runtimed.host.proof.bundle import KEPT, Bundle, abandoned_bundles, new_bundle
from runtimed.host.proof.leftovers import list_leftovers, remove_all

# Another one in each process of pytest: leftovers are searched for on the whole node.
ID = f"runtimed-test-{secrets.token_hex(6)}"
NODE = Node({"usr": None}, frozenset())
SLEEP = ("/bin/sleep", "100")

MOUNTED = """
import subprocess, sys
from pathlib import Path
from runtimed.core.proof.engine import Traces
from runtimed.host.proof import bundle, leftovers
identifier, root = sys.argv[1:]
traces = Traces(identifier, f"{root}/bundle", state=f"{root}/state")
for directory in (traces.bundle, f"{traces.state}/{identifier}"):
    subprocess.run(["/bin/mount", "--bind", f"{root}/host", directory], check=True)
leftovers._run = lambda *words: None  # umount(8) fails
leftovers._REMOVAL_S = 2
print(*(each["kind"] for each in leftovers.remove_all(traces)), bundle.remove_bundle(traces.bundle))
"""
# As fusermount(1) mounts for a user.
MOUNTED_BY_USER = """
import os, subprocess, sys
from runtimed.core.proof.engine import Traces
from runtimed.host.proof.leftovers import list_leftovers
identifier, root = sys.argv[1:]
os.mkdir(f"{root}/bundle")
for name in ("root", "user", "shared"):
    os.makedirs(f"{root}/{name}/{identifier}/inner")
    subprocess.run(["/bin/mount", "-t", "tmpfs", "t", f"{root}/{name}/{identifier}/inner"], check=True)
os.chown(f"{root}/user", 65534, 65534)
os.chmod(f"{root}/shared", 0o777)
print(*(each["name"] for each in list_leftovers(Traces(identifier, f"{root}/bundle"))))
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, **environment: str) -> subprocess.Popen[bytes]:
        # Without a terminal, like a program that an engine has started.
        process = subprocess.Popen(words, env=environment, start_new_session=True, stdin=subprocess.DEVNULL)
        started.append(process)
        # Popen returns before the kernel shows the arguments and variables of the new program.
        wait_until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes(), "the program")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    (tmp_path / "bundle").mkdir()
    return Traces(ID, str(tmp_path / "bundle"), state=str(tmp_path / "state"), pin=str(tmp_path / "pin"))


def kinds(traces: Traces) -> list[str]:
    return [each["kind"] for each in list_leftovers(traces)]


def test_nothing_is_found_where_nothing_is(traces: Traces) -> None:
    assert list_leftovers(traces) == []
    assert remove_all(traces) == []


def test_processes_of_the_test_end_and_others_go_on(traces: Traces, start: Start) -> None:
    own = [start(*SLEEP, RUNTIMED_TEST=ID), start("/bin/sh", "-c", "read x; sleep 100 & wait", ID)]
    others = [
        start(*SLEEP, RUNTIMED_TEST=f"{ID}0"),
        start(*SLEEP, OTHER=ID),
        start("/bin/sh", "-c", "sleep 100; exit", f"/bundle/{ID}"),
        start("/bin/sh", "-c", "sleep 100; exit", f"{ID}c"),
    ]
    # A shell with stdin at its end reads nothing and goes on.
    found = {each["name"].partition(" ")[0] for each in list_leftovers(traces)}
    assert found >= {str(each.pid) for each in own}
    assert not found & {str(each.pid) for each in others}
    assert remove_all(traces) == []
    assert all(each.wait(PATIENCE_S) == -9 for each in own)
    assert all(each.poll() is None for each in others)


def test_what_is_in_the_state_directory_is_removed_with_it_and_no_link_is_followed(
    traces: Traces, tmp_path: Path
) -> None:
    kept = tmp_path / "kept/file"
    kept.parent.mkdir()
    kept.write_text("x")
    state = Path(traces.state)
    (state / ID).mkdir(parents=True)
    (state / ID / "state.json").write_text("{}")
    (state / ID / "inner").symlink_to(kept.parent)
    (state / f"{ID}.link").symlink_to(kept.parent)
    # A cache for all containers, as crun has it.
    (state / ".cache/seccomp").mkdir(parents=True)
    assert sorted(each["name"] for each in list_leftovers(traces)) == [f"{state}/{ID}", f"{state}/{ID}.link"]
    assert remove_all(traces) == []
    assert not state.exists()
    assert kept.read_text() == "x"


def test_an_empty_state_directory_is_no_leftover_and_is_removed(traces: Traces) -> None:
    Path(traces.state).mkdir()
    assert list_leftovers(traces) == []
    assert remove_all(traces) == []
    assert not Path(traces.state).exists()


def test_the_pin_is_removed(traces: Traces) -> None:
    Path(traces.pin).touch()
    assert kinds(traces) == ["pin"]
    assert remove_all(traces) == []
    assert not Path(traces.pin).exists()


def test_without_an_answer_of_containerd_its_directories_stay_for_it_and_the_container_is_named(
    traces: Traces, tmp_path: Path, start: Start
) -> None:
    socket = str(tmp_path / "c.sock")
    directory = tmp_path / "containerd/io.containerd.runtime.v2.task" / ID / ID
    directory.mkdir(parents=True)
    traces = Traces(ID, traces.bundle, containerd=socket, containerd_state=str(tmp_path / "containerd"))
    (Path(traces.bundle) / "stdout").touch()
    process = start(*SLEEP, RUNTIMED_TEST=ID)
    container = f"{ID}: unknown, because containerd at {socket} does not answer"
    assert {each["name"] for each in remove_all(traces)} == {container, str(directory)}
    assert directory.exists()
    assert process.wait(PATIENCE_S) == -9
    assert (Path(traces.bundle) / KEPT).exists()


def test_a_bundle_is_kept_while_there_is_a_rest_and_a_later_run_finds_it(tmp_path: Path) -> None:
    def traces_left_by(bundle: Bundle) -> Traces:
        return Traces(bundle.id, bundle.path, containerd=str(tmp_path / "c.sock"))

    with new_bundle(NODE, systemd_cgroup=False, directory=str(tmp_path)) as clean:
        clean.record(traces_left_by(clean))
        assert remove_all(traces_left_by(clean)) == []
    with new_bundle(NODE, systemd_cgroup=False, directory=str(tmp_path)) as kept:
        kept.record(traces_left_by(kept))
        (Path(kept.path) / "stdout").touch()
        assert [each["kind"] for each in remove_all(traces_left_by(kept))] == ["container"]
    assert [*abandoned_bundles(str(tmp_path))] == [traces_left_by(kept)]


def test_containerd_is_not_asked_where_no_container_was_created(traces: Traces, tmp_path: Path) -> None:
    assert list_leftovers(Traces(ID, traces.bundle, containerd=str(tmp_path / "c.sock"))) == []


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_process_of_another_user_with_the_id_is_none_of_the_test(traces: Traces, start: Start) -> None:
    process = start(*ordinary_user(), *SLEEP, RUNTIMED_TEST=ID)
    wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "the other user's program")
    assert list_leftovers(traces) == []
    assert remove_all(traces) == []
    assert process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_directory_on_which_host_files_are_still_mounted_is_not_emptied(tmp_path: Path) -> None:
    for name in ("host", "bundle", f"state/{ID}"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "host/file").write_text("x")
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", MOUNTED, ID, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "mount state False\n"
    assert (tmp_path / "host/file").read_text() == "x"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_mount_in_the_user_namespace_of_an_ordinary_user_is_none_of_the_test(traces: Traces, start: Start) -> None:
    namespace = (*ordinary_user(), "unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespace can be made here, in a chroot say")
    make = f"mount -t tmpfs t /mnt && mkdir /mnt/{ID} && mount -t tmpfs t /mnt/{ID} && exec sleep 100"
    process = start(*namespace, "sh", "-c", make, PATH=os.environ["PATH"])
    wait_until(lambda: ID in Path(f"/proc/{process.pid}/mountinfo").read_text(), "the mount")
    assert list_leftovers(traces) == []


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_mount_whose_path_an_ordinary_user_can_make_lead_elsewhere_is_left_out(tmp_path: Path) -> None:
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", MOUNTED_BY_USER, ID]
    done = subprocess.run([*command, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path}/root/{ID}/inner\n"
