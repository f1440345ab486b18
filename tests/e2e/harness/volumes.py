"""File systems of a test's own: a configuration lies on them, and they come and go while a daemon runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.daemon import short_directory, wait_until

from runtimed.core.mounts import parse_mounts
from runtimed.host.watch.mounts import MOUNTINFO

# Puts the first content into a directory.
Fill = Callable[[Path], object]
IMAGE_BYTES = 32 << 20


def run(*command: str | Path) -> None:
    """Run a command, and fail with what it says if it does."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def unmount(point: Path) -> None:
    """Unmount what is mounted at ``point``, as soon as no process is just using it."""
    command = ["env", "LC_ALL=C", "umount", str(point)]

    def unmounted() -> bool:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "busy" in done.stderr, done.stderr
        return done.returncode == 0

    wait_until(unmounted, f"{point} not to be busy")


@dataclass(frozen=True)
class Volume:
    """A file system at ``point`` that can be unmounted and mounted again."""

    point: Path
    how: tuple[str, ...]

    def mount(self) -> None:
        run("mount", *self.how, self.point)

    def unmount(self) -> None:
        unmount(self.point)


def new_tmpfs(point: Path, fill: Fill) -> Volume:
    volume = Volume(point, ("-t", "tmpfs", "-o", "mode=0755", "none"))
    point.mkdir()
    volume.mount()
    fill(point)
    return volume


def new_ext4(point: Path, fill: Fill) -> Volume:
    """Return an ext4 on a loop device; its content is there from the moment at which it is mounted."""
    content = point.with_name(f"{point.name}.content")
    content.mkdir()
    fill(content)
    image = point.with_name(f"{point.name}.image")
    image.touch()
    os.truncate(image, IMAGE_BYTES)
    run("mkfs.ext4", "-q", "-d", content, image)
    volume = Volume(point, ("-o", "loop", str(image)))
    point.mkdir(exist_ok=True)
    volume.mount()
    return volume


def new_overlay(point: Path, fill: Fill) -> Volume:
    """Return an overlay whose content lies in its lower layer, as an image's does."""
    layers = point.with_name(f"{point.name}.layers")
    new_tmpfs(layers, lambda _: None)
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir()
    fill(layers / "lower")
    # So that a directory of the lower layer can be renamed.
    options = f"redirect_dir=on,lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    volume = Volume(point, ("-t", "overlay", "-o", options, "none"))
    point.mkdir()
    volume.mount()
    return volume


FILE_SYSTEMS: dict[str, Callable[[Path, Fill], Volume]] = {
    "tmpfs": new_tmpfs,
    "ext4": new_ext4,
    "overlay": new_overlay,
}


@contextlib.contextmanager
def directory_for_mounts() -> Iterator[Path]:
    """Yield a new directory with a short path, below which nothing is mounted any more at the end."""
    with short_directory() as root:
        try:
            yield root
        finally:
            for point in reversed(mounted_below(root)):
                if subprocess.run(["umount", point], capture_output=True, check=False).returncode != 0:
                    run("umount", "--lazy", point)
            assert mounted_below(root) == []


def mounted_below(root: Path) -> list[str]:
    """Return where something is mounted below ``root``, in the order in which it was mounted."""
    points = [os.fsdecode(mount.point) for mount in parse_mounts(Path(MOUNTINFO).read_bytes())]
    return [point for point in points if point.startswith(f"{root}/")]
