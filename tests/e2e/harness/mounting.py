"""Ways in which what is mounted where changes a configuration, or does not."""

from __future__ import annotations

import time
from pathlib import Path

from e2e.harness import volumes
from e2e.harness.changing import ConfigurationOnVolume, dropin, fill, main_file
from e2e.harness.edits import Edit, text
from e2e.harness.volumes import new_ext4, run
from harness.daemon import put


def unmount(it: ConfigurationOnVolume) -> None:
    it.volume.unmount()


def mount_again(it: ConfigurationOnVolume) -> None:
    it.volume.mount()
    if not it.etc.exists():
        fill(it.base)


def mount_over_directory(it: ConfigurationOnVolume) -> None:
    def content(base: Path) -> None:
        fill(base, "two")
        for path in (base / "etc").iterdir():
            path.rename(base / path.name)
        (base / "etc").rmdir()

    new_ext4(it.etc, content)


def bind_file(it: ConfigurationOnVolume) -> None:
    put(it.root / "other.json", main_file("two"))
    run("mount", "--bind", it.root / "other.json", it.main)


def bind_directory(it: ConfigurationOnVolume) -> None:
    fill(it.root / "other", "two")
    run("mount", "--bind", it.root / "other" / "etc", it.etc)


def unmount_from(path: str) -> Edit:
    return lambda it: volumes.unmount(it.base / path)


def mount_again_changed(it: ConfigurationOnVolume) -> None:
    """Mount the file system with another content in it from the first moment on."""
    aside = it.root / "aside"
    aside.mkdir()
    run("mount", *it.volume.how, aside)
    if not (aside / "etc").exists():
        fill(aside)
    (aside / "etc" / "daemon.json").write_text(text("two"))
    run("mount", "--bind", aside, it.base)
    run("umount", aside)


def mount_over_all(it: ConfigurationOnVolume) -> None:
    over = new_ext4(it.root / "over", lambda base: fill(base, "two"))
    run("mount", "--bind", over.point, it.base)


def bind_dropin(it: ConfigurationOnVolume) -> None:
    put(it.root / "other.json", dropin("c"))
    run("mount", "--bind", it.root / "other.json", it.dropins / "20-b.json")


def write_bound_dropin(it: ConfigurationOnVolume) -> None:
    (it.root / "other.json").write_text(text("three"))


def bind_no_dropins(it: ConfigurationOnVolume) -> None:
    (it.root / "empty").mkdir()
    run("mount", "--bind", it.root / "empty", it.dropins)


def remount(how: str) -> Edit:
    return lambda it: run("mount", "-o", f"remount,bind,{how}", it.base)


def mount_elsewhere(it: ConfigurationOnVolume) -> None:
    """Mount what does not concern the configuration and end it again, as containers do that start and stop."""
    point = it.base / "elsewhere"
    point.mkdir()
    for _ in range(10):
        run("mount", "--bind", it.etc, point)
        time.sleep(0.1)
        run("umount", point)
