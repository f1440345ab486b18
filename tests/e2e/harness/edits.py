"""Every way in which people and programs change a configuration."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from e2e.harness.changing import ConfigurationOnVolume, dropin, fill, main_file
from e2e.harness.volumes import run
from harness.daemon import put

# In the middle of what is done at once: shorter than the quiet that the daemon waits for, and long enough to be seen.
MOMENT_S = 0.05

Edit = Callable[[ConfigurationOnVolume], object]


def text(word: str) -> str:
    return json.dumps(main_file(word), indent=1)


def write_in_place(path: str, word: str) -> Edit:
    return lambda it: (it.base / path).write_text(text(word))


def truncate_then_write(it: ConfigurationOnVolume) -> None:
    with it.main.open("w") as file:
        time.sleep(1)
        file.write(text("two"))


def write_in_pieces(it: ConfigurationOnVolume) -> None:
    """Write with pauses that are longer than the quiet after which the daemon reads."""
    whole = text("two")
    with it.main.open("w") as file:
        for start in range(0, len(whole), 12):
            file.write(whole[start : start + 12])
            file.flush()
            time.sleep(0.4)


def write_two_files(it: ConfigurationOnVolume) -> None:
    it.main.write_text(text("two"))
    time.sleep(MOMENT_S)
    (it.dropins / "20-b.json").unlink()


def append_white_space(it: ConfigurationOnVolume) -> None:
    with it.main.open("a") as file:
        file.write("\n\n")


def save_with_vim(it: ConfigurationOnVolume) -> None:
    """Do as vim does with ``backupcopy=no``: the new file is another one."""
    etc = it.etc
    (etc / ".daemon.json.swp").write_text("b0VIM")
    (etc / "4913").touch()
    (etc / "4913").unlink()
    it.main.rename(etc / "daemon.json~")
    time.sleep(MOMENT_S)
    it.main.write_text(text("two"))
    (etc / "daemon.json~").unlink()
    (etc / ".daemon.json.swp").unlink()


def run_vi(it: ConfigurationOnVolume) -> None:
    """Save with vim itself. It makes no backup below /tmp unless told to."""
    before = it.main.stat().st_ino
    vim = ("vi", "-u", "NONE", "-es", "-c", "set backup backupcopy=no backupskip=")
    run(*vim, "-c", "%s/one/two/", "-c", "x", it.main)
    assert it.main.stat().st_ino != before


def run_mv(it: ConfigurationOnVolume) -> None:
    """Move a file from another file system, which makes a copy and is not atomic."""
    (it.root / "source").write_text(text("two"))
    run("mv", it.root / "source", it.main)


def exchange(it: ConfigurationOnVolume) -> None:
    """Let two files change places, as renameat2(2) can."""
    other = it.etc / "other"
    other.write_text(text("two"))
    at_cwd, rename_exchange = -100, 2
    assert ctypes.CDLL(None).renameat2(at_cwd, bytes(other), at_cwd, bytes(it.main), rename_exchange) == 0


def replace(path: str, word: str) -> Edit:
    return lambda it: put(it.base / path, text(word))


def run_sed(it: ConfigurationOnVolume) -> None:
    run("sed", "-i", "s/one/two/", it.main)


def replace_from_beside(it: ConfigurationOnVolume) -> None:
    """Do as Ansible's atomic_move does for a file from another file system: a copy beside it, and a rename."""
    temporary = it.etc / ".ansible_tmpx8f2daemon.json"
    temporary.write_text(text("two"))
    temporary.chmod(0o644)
    os.chown(temporary, 0, 0)
    temporary.rename(it.main)


def replace_from_elsewhere(it: ConfigurationOnVolume) -> None:
    """Do as Ansible's atomic_move does at first: a rename from its own temporary directory."""
    (it.base / "tmp").mkdir()
    (it.base / "tmp" / "source").write_text(text("two"))
    (it.base / "tmp" / "source").rename(it.main)


def fill_with_linked_file(base: Path) -> None:
    fill(base)
    (base / "shelf").mkdir()
    (base / "shelf" / "one.json").write_text(text("one"))
    (base / "shelf" / "two.json").write_text(text("two"))
    (base / "etc" / "daemon.json").unlink()
    (base / "etc" / "daemon.json").symlink_to("../shelf/one.json")


def fill_with_links_in_line(base: Path) -> None:
    fill_with_linked_file(base)
    (base / "middle").symlink_to("shelf/one.json")
    (base / "etc" / "daemon.json").unlink()
    (base / "etc" / "daemon.json").symlink_to("../middle")


def fill_with_shelf(base: Path) -> None:
    fill(base)
    put(base / "shelf.json", text("two"))


def fill_with_linked_directory(base: Path) -> None:
    fill(base)
    (base / "etc").rename(base / "etc-1")
    shutil.copytree(base / "etc-1", base / "etc-2")
    (base / "etc-2" / "daemon.json").write_text(text("two"))
    (base / "etc").symlink_to("etc-1")


def switch_link(path: str, target: str) -> Edit:
    def do(it: ConfigurationOnVolume) -> None:
        (it.base / "new-link").symlink_to(target)
        (it.base / "new-link").rename(it.base / path)

    return do


def delete_and_create(it: ConfigurationOnVolume) -> None:
    it.main.unlink()
    time.sleep(MOMENT_S)
    it.main.write_text(text("two"))


def delete(path: str) -> Edit:
    return lambda it: (it.base / path).unlink()


def delete_directory(path: str) -> Edit:
    return lambda it: shutil.rmtree(it.base / path)


def fill_again(it: ConfigurationOnVolume) -> None:
    fill(it.base, "two")


def put_other_dropins_in_place(it: ConfigurationOnVolume) -> None:
    (it.etc / "new").mkdir()
    put(it.etc / "new" / "10-a.json", dropin("a"))
    it.dropins.rename(it.etc / "old")
    time.sleep(MOMENT_S)
    (it.etc / "new").rename(it.dropins)


def delete_directory_and_create(it: ConfigurationOnVolume) -> None:
    shutil.rmtree(it.etc)
    time.sleep(MOMENT_S)
    fill(it.base, "two")


def put_another_directory_in_place(it: ConfigurationOnVolume) -> None:
    fill(it.base / "new", "two")
    it.etc.rename(it.base / "old")
    time.sleep(MOMENT_S)
    (it.base / "new" / "etc").rename(it.etc)


def add_dropin(it: ConfigurationOnVolume) -> None:
    (it.dropins / "30-c.json").write_text(json.dumps(dropin("c", "new")))


def remove_dropin(it: ConfigurationOnVolume) -> None:
    (it.dropins / "20-b.json").unlink()


def rename_dropin(it: ConfigurationOnVolume) -> None:
    (it.dropins / "10-a.json").rename(it.dropins / "30-a.json")


def disable_dropin(it: ConfigurationOnVolume) -> None:
    (it.dropins / "20-b.json").rename(it.dropins / "20-b.json.disabled")


def enable_dropin(it: ConfigurationOnVolume) -> None:
    (it.dropins / "20-b.json.disabled").rename(it.dropins / "20-b.json")


def touch(it: ConfigurationOnVolume) -> None:
    run("touch", it.main, it.dropins / "10-a.json", it.dropins, it.etc)


def write_same_content(it: ConfigurationOnVolume) -> None:
    put(it.main, it.main.read_bytes())


def write_beside(it: ConfigurationOnVolume) -> None:
    """Leave what is no part of the configuration, next to it."""
    for name in ("other.json", "daemon.json~", "daemon.json.d/.hidden.json", "daemon.json.d/a.json~"):
        (it.etc / name).write_text("{")


def set_owner(path: str, user: int) -> Edit:
    return lambda it: os.chown(it.base / path, user, user)


def set_mode(path: str, mode: int) -> Edit:
    return lambda it: (it.base / path).chmod(mode)


def write_version(volume: Path, number: int, files: Mapping[str, object]) -> None:
    """Do as kubelet's atomic writer does (pkg/volume/util/atomic_writer.go)."""
    data = volume / f"..2024_01_01_00_00_0{number}.{number}"
    data.mkdir(mode=0o755)
    for name, content in files.items():
        (data / name).write_text(json.dumps(content))
    old = (volume / "..data").readlink() if (volume / "..data").is_symlink() else None
    (volume / "..data_tmp").symlink_to(data.name)
    (volume / "..data_tmp").rename(volume / "..data")
    time.sleep(MOMENT_S)
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    for path in volume.iterdir():
        if not path.name.startswith("..") and path.name not in files:
            path.unlink()
    if old is not None:
        shutil.rmtree(volume / old)


def fill_configmap(files: Mapping[str, object]) -> Callable[[Path], None]:
    """Make a volume that the daemon reads through a read-only mount.

    Its mode is not the kubelet's 0777: process 1 is not in a container here, and finds the volume writable.
    """

    def do(base: Path) -> None:
        put(base / "daemon.json", {})
        (base / "volume").mkdir()
        write_version(base / "volume", 1, files)
        (base / "config").mkdir()
        run("mount", "--bind", base / "volume", base / "config")
        run("mount", "-o", "remount,bind,ro", base / "config")
        assert subprocess.run(["touch", base / "config" / "x"], capture_output=True, check=False).returncode != 0

    return do


def update_configmap(number: int, files: Mapping[str, object]) -> Edit:
    return lambda it: write_version(it.base / "volume", number, files)
