from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runtimed.host.facts import read_facts, read_machine, read_system


def mountinfo(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "mountinfo"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_the_last_mount_on_the_cgroup_root_decides(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    v1 = f"31 23 0:28 / {root} rw,relatime shared:9 - tmpfs tmpfs rw,mode=755"
    v2 = f"32 23 0:29 / {root} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
    below = f"33 23 0:30 / {root}/unified rw - cgroup2 cgroup2 rw"
    for lines, expected in [((v1, v2), True), ((v2, v1), False), ((v1, below), False), ((), False), (("junk",), False)]:
        assert read_facts({}, str(root), mountinfo=mountinfo(tmp_path, *lines)).cgroup2 is expected


def test_escaped_blanks_in_a_mount_point_are_decoded(tmp_path: Path) -> None:
    root = tmp_path / "a b"
    root.mkdir()
    escaped = str(root).replace(" ", "\\040")
    info = mountinfo(tmp_path, f"32 23 0:29 / {escaped} rw - cgroup2 cgroup2 rw")
    assert read_facts({}, str(root), mountinfo=info).cgroup2


def test_cgroup2_on_this_machine_agrees_with_stat() -> None:
    kind = subprocess.run(["stat", "-f", "-c", "%t", "/sys/fs/cgroup"], capture_output=True, text=True, check=False)
    assert read_facts(os.environ).cgroup2 == (kind.stdout.strip() == "63677270")


def test_mounts_that_cannot_be_read_mean_no_cgroup2(tmp_path: Path) -> None:
    assert not read_facts({}, mountinfo=str(tmp_path / "none")).cgroup2


def test_systemd_runs_if_its_directory_exists_and_is_no_link(tmp_path: Path) -> None:
    real, link, file = tmp_path / "real", tmp_path / "link", tmp_path / "file"
    real.mkdir()
    link.symlink_to(real)
    file.touch()
    found = {path.name: read_facts({}, systemd_dir=str(path)).systemd for path in (real, link, file, tmp_path / "none")}
    assert found == {"real": True, "link": False, "file": False, "none": False}


def test_launchers_search_the_path_of_the_daemon() -> None:
    assert [read_facts(environ).search for environ in ({}, {"PATH": "/a:b"})] == ["", "/a:b"]


@pytest.mark.parametrize(
    ("environ", "expected"), [({}, False), ({"DOCKER_RAMDISK": ""}, False), ({"DOCKER_RAMDISK": "0"}, True)]
)
def test_any_value_but_an_empty_one_means_a_ramdisk(environ: dict[str, str], *, expected: bool) -> None:
    assert read_facts(environ).ramdisk is expected


def test_the_machine_agrees_with_the_tools_of_the_system() -> None:
    def output_of(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    machine = read_machine(read_system())
    assert (machine.name, machine.kernel, machine.architecture) == (
        output_of("uname", "-n"),
        output_of("uname", "-r"),
        os.uname().machine,
    )
    assert machine.system == output_of("sh", "-c", '. /etc/os-release && echo "$PRETTY_NAME"')
    assert machine.cpus == int(output_of("getconf", "_NPROCESSORS_ONLN"))
    assert machine.memory_bytes == int(output_of("getconf", "_PHYS_PAGES")) * int(output_of("getconf", "PAGESIZE"))
