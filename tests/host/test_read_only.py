"""Tests of trust on real read-only mounts, which excuse write permission of other users or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems, and gives files to other users")
SHOW = "import sys; from runtimed.host.trust import *; print(walk(sys.argv[1], Trust(frozenset({0}))).error)"
# Makes a directory that all users can write, with a file in it, at $1, and a function that shows the judgement.
PREPARE = """
set -e
show() { "$python" -c "$program" "$1"; }
fill() {
    echo '{}' > "$1/daemon.json"; : > "$1/alices"
    chmod 0777 "$1"; chmod 0666 "$1/daemon.json"; chown 1000 "$1/alices"
}
base="$1" python="$2" program="$3"
mkdir "$base/volume" "$base/mount"
"""
# Namespaces as a service manager makes them, with the host's process 1 in view; and as a container has them.
SERVICE = ("unshare", "--mount", "--propagation", "private")
CONTAINER = (*SERVICE, "--pid", "--fork", "--kill-child", "--mount-proc")


def shown(tmp_path: Path, namespaces: tuple[str, ...], script: str) -> list[str]:
    """Return the outcomes of walks to the paths that ``script`` shows, in new namespaces."""
    words = [*namespaces, "sh", "-c", PREPARE + script, "sh", str(tmp_path), sys.executable, SHOW]
    return subprocess.run(words, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout.splitlines()


def test_a_mount_that_is_read_only_for_one_service_does_not_excuse_write_bits(tmp_path: Path) -> None:
    script = """
fill "$base/volume"
mount --bind "$base/volume" "$base/mount"; mount -o remount,bind,ro "$base/mount"
show "$base/mount/daemon.json"; chmod 0755 "$base/volume"; show "$base/mount/daemon.json"
chmod 0600 "$base/volume/daemon.json"; show "$base/mount/daemon.json"
"""
    directory, file, mended = shown(tmp_path, SERVICE, script)
    assert f"{tmp_path}/mount: can be changed" in directory
    assert f"{tmp_path}/mount/daemon.json: can be changed" in file
    assert "it is read-only for this process, but perhaps not for others" in file
    assert mended == "None"


def test_a_mount_that_is_read_only_for_process_1_excuses_write_bits_but_not_owners(tmp_path: Path) -> None:
    # The kubelet writes the volume from outside; in the container there is no way to it but the read-only mount.
    script = """
mount -t tmpfs none "$base/volume"; fill "$base/volume"
mount --bind "$base/volume" "$base/mount"; mount -o remount,bind,ro "$base/mount"
show "$base/mount/daemon.json"
umount "$base/volume"
show "$base/mount/daemon.json"; show "$base/mount"; show "$base/mount/alices"
"""
    two_ways, file, directory, alices = shown(tmp_path, CONTAINER, script)
    assert "can be changed" in two_ways
    assert (file, directory) == ("None", "None")
    assert "belongs to user id 1000" in alices
    assert alices.endswith("correct the owner where the read-only volume is made, or choose another path")


def test_a_file_system_that_is_read_only_itself_excuses_write_bits_in_any_namespace(tmp_path: Path) -> None:
    script = """
mount -t tmpfs none "$base/mount"; fill "$base/mount"
show "$base/mount/daemon.json"
mount -o remount,ro "$base/mount"
show "$base/mount/daemon.json"; show "$base/mount"; show "$base/mount/alices"
"""
    writable, file, directory, alices = shown(tmp_path, SERVICE, script)
    assert "can be changed" in writable
    assert (file, directory) == ("None", "None")
    assert "belongs to user id 1000" in alices


def test_a_hard_link_that_can_be_written_takes_the_excuse_away(tmp_path: Path) -> None:
    script = """
mount -t tmpfs none "$base/volume"; mkdir "$base/volume/a" "$base/volume/b" "$base/other"
fill "$base/volume/a"; ln "$base/volume/a/daemon.json" "$base/volume/b/x"
mount --bind "$base/volume/a" "$base/mount"; mount -o remount,bind,ro "$base/mount"
mount --bind "$base/volume/b" "$base/other"
umount "$base/volume"
show "$base/mount"; show "$base/mount/daemon.json"
"""
    directory, file = shown(tmp_path, CONTAINER, script)
    assert directory == "None"
    assert f"{tmp_path}/mount/daemon.json: can be changed" in file


def test_where_process_1_is_hidden_a_read_only_mount_excuses_nothing(tmp_path: Path) -> None:
    script = """
mount -t tmpfs none "$base/volume"; fill "$base/volume"
mount --bind "$base/volume" "$base/mount"; mount -o remount,bind,ro "$base/mount"; umount "$base/volume"
show "$base/mount/daemon.json"
mkdir "$base/nothing"; mount --bind "$base/nothing" /proc/1
show "$base/mount/daemon.json"
"""
    # A shell in between, so that the one that asks is not process 1 itself.
    seen, hidden = shown(tmp_path, CONTAINER, script)
    assert seen == "None"
    assert "can be changed" in hidden
