"""Tests of the advice in refusals: no command on files of other programs, and none that cannot work."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtimed.core.errors import PathRefused
from runtimed.host.trust import Trust, walk

REPOSITORY = Path(__file__).parents[2]
ROOT = Trust(frozenset({0}))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, and makes devices")


def advice(path: Path | str) -> str:
    with walk(str(path), ROOT) as found:
        assert isinstance(found.error, PathRefused), found
        return found.error.advice


@pytest.mark.parametrize("path", ["/tmp", "/var/tmp", "/dev/shm"])
def test_no_command_is_advised_on_a_directory_that_all_users_share(path: str) -> None:
    assert advice(path) == "choose another directory"


def test_no_command_is_advised_on_a_device_or_a_pipe(tmp_path: Path) -> None:
    os.mknod(tmp_path / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.mkfifo(tmp_path / "pipe")
    for name in ("device", "pipe"):
        (tmp_path / name).chmod(0o666)
        assert advice(tmp_path / name) == "choose another path"
        (tmp_path / name).chmod(0o600)
        os.chown(tmp_path / name, 1000, 1000)
        assert advice(tmp_path / name) == "choose another path"


def test_the_null_device_is_no_danger_although_all_users_can_write_it(tmp_path: Path) -> None:
    (tmp_path / "masked.json").symlink_to("/dev/null")
    with walk(str(tmp_path / "masked.json"), ROOT) as found:
        assert found.error is None
        assert found.real_path == "/dev/null"
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(device, 1000, 1000)
    with walk(str(device), ROOT) as found:
        assert found.error is None


def test_no_plain_chown_is_advised_on_a_directory_on_the_way(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "daemon.json").touch()
    os.chown(home, 1000, 1000)
    assert advice(home / "daemon.json") == (
        f"if the directory is for root alone, run: chown root: {home}; otherwise choose another directory"
    )
    os.chown(home, 0, 0)
    home.chmod(0o775)
    assert advice(home / "daemon.json").startswith(f"if the directory is for root alone, run: chmod go-w {home}; ")


def test_the_advice_on_a_file_of_another_user_is_to_look_at_it_first(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").touch()
    os.chown(tmp_path / "daemon.json", 1000, 1000)
    assert advice(tmp_path / "daemon.json") == f"look at its content, then run: chown root: {tmp_path}/daemon.json"


def test_no_command_is_advised_where_the_owner_has_no_number_in_the_user_namespace(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").touch()
    os.chown(tmp_path / "daemon.json", 1000, 1000)
    program = "import sys; from runtimed.host.trust import *; print(walk(sys.argv[1], Trust(frozenset({0}))).error)"
    command = [sys.executable, "-c", program, str(tmp_path / "daemon.json")]
    # Only root has a number in it.
    namespace = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespace can be made here, in a chroot say")
    done = subprocess.run([*namespace, *command], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "belongs to user id 65534" in done.stdout
    assert done.stdout.endswith("the owner may have no number in this user namespace; choose another path\n")
