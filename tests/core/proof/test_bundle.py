"""Tests of the container that a test runs, as far as its configuration goes."""

from __future__ import annotations

import subprocess

import pytest

from runtimed.core.proof.bundle import (
    EXIT_STATUS,
    ID,
    Node,
    RootDirectory,
    cgroup_path,
    make_config,
    make_root_directory,
    make_script,
)
from runtimed.core.proof.engine import Traces, read_traces

NAME = "runtimed-test-0123456789ab"
MERGED = {"usr": None, "bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "libx32": "usr/libx32"}
ALL = frozenset({"memory", "pids", "cpu"})


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        # Debian, merged.
        (
            {**MERGED, "home": None, "library": None, "etc": None},
            RootDirectory(("dev", "proc", "usr"), {k: v for k, v in MERGED.items() if v is not None}),
        ),
        # Alpine.
        (
            {"usr": None, "bin": None, "sbin": None, "lib": None, "root": None},
            RootDirectory(("dev", "proc", "bin", "lib", "sbin", "usr"), {}),
        ),
        # NixOS, Guix.
        ({"bin": None, "nix": None, "gnu": None}, RootDirectory(("dev", "proc", "bin", "gnu", "nix"), {})),
    ],
)
def test_the_root_file_system_has_the_hosts_programs(entries: dict[str, str | None], expected: RootDirectory) -> None:
    root = make_root_directory(Node(entries, ALL))
    assert root == expected


def test_the_container_may_do_nothing_and_has_no_network() -> None:
    config = make_config(NAME, "/x/rootfs", Node({"usr": None, "bin": "usr/bin"}, ALL), systemd_cgroup=False)
    process, linux = config["process"], config["linux"]
    assert config["root"] == {"path": "/x/rootfs", "readonly": True}
    assert process["noNewPrivileges"] is True
    assert set(map(tuple, process["capabilities"].values())) == {()}
    assert {"type": "network"} in linux["namespaces"]
    assert linux["resources"]["memory"]["limit"] > 0
    assert linux["resources"]["pids"]["limit"] > 0
    assert linux["seccomp"]["syscalls"]
    binds = [mount for mount in config["mounts"] if mount["type"] == "bind"]
    assert [mount["destination"] for mount in binds] == ["/usr"]
    assert all("ro" in mount["options"] for mount in binds)


def test_a_limit_without_its_controller_is_left_out() -> None:
    resources = make_config(NAME, "/r", Node({}, frozenset({"pids"})), systemd_cgroup=False)["linux"]["resources"]
    assert "memory" not in resources
    assert "pids" in resources


def test_the_cgroup_has_the_id_in_its_name_and_no_parent_that_another_test_uses() -> None:
    assert cgroup_path(NAME, systemd_cgroup=False) == f"/{NAME}"
    assert cgroup_path(NAME, systemd_cgroup=True) == "system.slice:runtimed-test:0123456789ab"
    assert ID.fullmatch(NAME)


def test_the_script_prints_what_it_sees_and_exits_with_42() -> None:
    run = subprocess.run(["/bin/sh", "-c", make_script(NAME)], check=False, capture_output=True, text=True, env={})
    assert run.returncode == EXIT_STATUS
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert all(line.startswith(f"{NAME} ") for line in lines)
    with open("/proc/version", encoding="utf-8") as version:
        assert f"{NAME} version {version.read().rstrip()}" in lines
    assert lines[-1] == f"{NAME} end"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (Traces(NAME, "/b", state="/s", pin="/p", containerd="/c").to_json(), Traces(NAME, "/b", "/s", "/p", "/c")),
        # The test was killed before, or while, it wrote the file.
        (b"", Traces(NAME, "/b")),
        (b'{"id": "x", "st', Traces(NAME, "/b")),
        (b"[]", Traces(NAME, "/b")),
    ],
)
def test_the_places_of_a_killed_test_are_read(data: bytes, expected: Traces) -> None:
    assert read_traces(NAME, "/b", data) == expected
