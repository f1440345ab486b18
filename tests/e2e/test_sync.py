"""runtimed-sync@ENGINE.service with real engines under a really booted systemd."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from e2e.harness.installed import SERVICE, TABLE, Installed, new_installation
from harness.daemon import put, wait_until

pytestmark = pytest.mark.timeout(1800)
# What dockerd would do to the network and the disk has no place here.
DOCKER: Mapping[str, Any] = {"storage-driver": "vfs", "iptables": False, "bridge": "none", "ip-forward": False}
DOCKER_FILE = "/etc/docker/daemon.json"
CONTAINERD_FILE = "/etc/containerd/conf.d/50-runtimed.toml"
PODMAN_FILE = "/etc/containers/containers.conf.d/50-runtimed.conf"
NFD_DIRECTORY = "/etc/kubernetes/node-feature-discovery"
EXPOSURE_MOST = {**dict.fromkeys(("containerd", "crio", "docker", "nfd"), 0.9), "podman": 1.2}
# Bounds on failing tests. While an engine does not follow it is verified every 15 s, or after ten times as long as the
# verification takes, which is seconds on a busy machine.
SOON_S = 180.0


@pytest.fixture(scope="module")
def installation() -> Iterator[Installed]:
    with new_installation() as node:
        node.machine.let_containers_run()
        node.systemctl("stop", "docker.service", "docker.socket", status=None)
        node.run("rm", "-rf", "/var/lib/containers", "/var/lib/docker", "/etc/docker", "/etc/containerd/conf.d")
        put(node.machine.root / DOCKER_FILE[1:], DOCKER)
        # Without a table of the CRI plugin, because an import replaces one as a whole before containerd 2.0.
        config = 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n'
        put(node.machine.root / "etc/containerd/config.toml", config)
        node.systemctl("unmask", "containerd.service")
        node.systemctl("start", "containerd.service", "docker.service")
        yield node


@pytest.fixture
def node(installation: Installed) -> Iterator[Installed]:
    """Yield the node with the table of these tests, and stop what a test has started."""
    installation.mend()
    yield installation
    installation.systemctl("stop", "runtimed-sync@*.service")


def unit(engine: str) -> str:
    return f"runtimed-sync@{engine}.service"


def engine(node: Installed, name: str) -> Mapping[str, Any]:
    """Return the last verification of an engine, an empty one if there is none."""
    return next((each for each in node.client().status()["engines"] if each["engine"] == name), {"state": None})


def start(node: Installed, name: str) -> None:
    """Start the instance of an engine, and wait for its first record."""
    before = engine(node, name).get("time")
    node.systemctl("start", unit(name))
    assert node.state(unit(name)) == "active (running)"
    wait_until(
        lambda: engine(node, name).get("time") != before, f"a record: {node.machine.journal(unit(name))}", SOON_S
    )


def verify_now(node: Installed) -> None:
    """Have engines that follow verified, as they are after a restart of the daemon.

    Otherwise they are once a minute, or after fifty times as long as a verification takes.
    """
    node.systemctl("restart", SERVICE)


def wait_for(node: Installed, name: str, state: str) -> Mapping[str, Any]:
    def found() -> Mapping[str, Any] | None:
        last = engine(node, name)
        return last if last["state"] == state else None

    try:
        return dict(wait_until(found, f"{name} {state}", SOON_S))
    except AssertionError as error:
        raise AssertionError(f"{error}: {engine(node, name)}; {node.machine.journal(unit(name))}") from error


def configure(node: Installed, **runtimes: str) -> None:
    """Give the table these runtimes, name -> path."""
    node.write({"runtimes": {name: {"path": path} for name, path in runtimes.items()}})
    node.systemctl("reload", SERVICE)


def docker_runtimes(node: Installed) -> set[str]:
    """Return the names that dockerd would execute now."""
    return set(json.loads(node.run("docker", "info", "--format", "{{json .Runtimes}}").stdout))


def wait_for_line(node: Installed, name: str, line: str, mark: int = 0) -> str:
    """Wait until the journal of an engine's instance has ``line`` after ``mark``; return the journal from there."""

    def found() -> str | None:
        lines = node.machine.journal(unit(name))[mark:]
        return lines if line in lines else None

    return str(wait_until(found, f"{line}: {node.machine.journal(unit(name))}", SOON_S))


def text(node: Installed, path: str) -> str:
    return (node.machine.root / path[1:]).read_text()


def test_no_instance_is_enabled_and_each_one_is_boxed_in(node: Installed) -> None:
    assert "runtimed-sync@" not in node.systemctl("list-units", "--all", "--plain", "--no-legend", "runtimed*")
    done = node.run(
        "systemd-analyze", "verify", *(f"/usr/local/lib/systemd/system/{unit(name)}" for name in ("docker",))
    )
    assert done.stdout + done.stderr == ""
    for name, most in EXPOSURE_MOST.items():
        said = node.run("systemd-analyze", "security", "--no-pager", unit(name)).stdout
        found = re.search(rf"Overall exposure level for {re.escape(unit(name))}: ([0-9.]+)", said)
        assert found is not None, said
        sys.stdout.write(f"exposure of {name}: {found[1]} of 10\n")
        assert float(found[1]) <= most, said


def test_docker_follows_each_change_of_the_table(node: Installed) -> None:
    pid = node.show("MainPID", "docker.service")
    start(node, "docker")
    wait_for(node, "docker", "follows")
    assert {"crun", "gvisor", "wrapped"} <= docker_runtimes(node)
    configure(node, crun="/usr/bin/crun", extra="/usr/sbin/runc")
    wait_until(lambda: "extra" in docker_runtimes(node), "a new name", SOON_S)
    assert not {"gvisor", "wrapped"} & docker_runtimes(node)
    configure(node, crun="/usr/bin/crun")
    wait_until(lambda: "extra" not in docker_runtimes(node), "the end of a name", SOON_S)
    wait_for(node, "docker", "follows")
    document = json.loads(text(node, DOCKER_FILE))
    assert {**document, **DOCKER} == document
    assert list(document["runtimes"]) == ["crun"]
    wait_until(lambda: node.show("StatusText", unit("docker")) == "docker follows", "the state of the unit", SOON_S)
    assert node.show("MainPID", "docker.service") == pid, "it was reloaded, not restarted"
    # A verification from before the reload may be recorded late.
    scrape = ("curl", "-sS", "--unix-socket", "/run/runtimed/runtimed.sock", "http://x/metrics")
    wait_until(lambda: 'runtimed_engine_follows{engine="docker"} 1.0' in node.run(*scrape).stdout, "the metric", SOON_S)


def test_a_change_of_dockers_file_by_another_program_is_named_and_left(node: Installed) -> None:
    start(node, "docker")
    wait_for(node, "docker", "follows")
    document = json.loads(text(node, DOCKER_FILE))
    entry = document["runtimes"]["crun"]
    document["runtimes"]["crun"] = {"path": "/usr/bin/other"}
    put(node.machine.root / DOCKER_FILE[1:], document)
    verify_now(node)
    found = wait_for(node, "docker", "differs")
    assert f"{DOCKER_FILE}:" in found["detail"]
    assert "/runtimes/crun: " in found["detail"]
    wait_for_line(node, "docker", f"docker differs: {found['detail']}")
    assert "/usr/bin/other" in text(node, DOCKER_FILE)
    document["runtimes"]["crun"] = entry
    put(node.machine.root / DOCKER_FILE[1:], document)
    wait_for(node, "docker", "follows")


def test_a_change_of_podmans_file_by_another_program_is_named_and_undone(node: Installed) -> None:
    start(node, "podman")
    wait_for(node, "podman", "follows")
    before = text(node, PODMAN_FILE)
    mark = len(node.machine.journal(unit("podman")))
    put(node.machine.root / PODMAN_FILE[1:], before.replace("crun", "nurc"))
    verify_now(node)
    wait_until(lambda: text(node, PODMAN_FILE) == before, "the file to be as it should be", SOON_S)
    wait_for(node, "podman", "follows")
    lines = wait_for_line(node, "podman", " differs: ", mark).splitlines()
    (line,) = [line for line in lines if " differs: " in line]
    assert f"{PODMAN_FILE}:" in line


def test_containerd_is_not_restarted_and_follows_after_a_restart_by_the_administrator(node: Installed) -> None:
    pid = node.show("MainPID", "containerd.service")
    start(node, "containerd")
    found = wait_for(node, "containerd", "not-told")
    assert "systemctl restart containerd" in found["detail"]
    assert "crun" in text(node, CONTAINERD_FILE)
    assert node.show("MainPID", "containerd.service") == pid
    wait_for_line(node, "containerd", f"containerd not-told: {found['detail']}")
    assert re.search(r"containerd not-told \(.* ago\): ", node.ctl("status"))
    node.systemctl("restart", "containerd.service")
    wait_for(node, "containerd", "follows")
    configure(node, crun="/usr/bin/crun", late="/usr/sbin/runc")
    wait_for(node, "containerd", "not-told")
    assert "late" in text(node, CONTAINERD_FILE)
    node.systemctl("restart", "containerd.service")
    wait_for(node, "containerd", "follows")


def test_an_engine_that_starts_with_its_unit_starts_with_the_current_file(node: Installed) -> None:
    node.systemctl("stop", "containerd.service")
    configure(node, crun="/usr/bin/crun", at_boot="/usr/sbin/runc")
    assert "at_boot" not in node.run("cat", CONTAINERD_FILE, status=None).stdout
    # As at boot, where both jobs are there at once; systemctl makes one after the other.
    node.systemctl("start", unit("containerd"), "containerd.service")
    wait_for(node, "containerd", "follows")
    assert "at_boot" in text(node, CONTAINERD_FILE)
    assert "not-told" not in node.machine.journal(unit("containerd")).rpartition("Starting ")[2]
    pid = node.show("MainPID", unit("containerd"))
    sys.stdout.write(node.run("grep", "VmRSS", f"/proc/{pid}/status").stdout)


def test_podman_follows_at_once(node: Installed) -> None:
    start(node, "podman")
    wait_for(node, "podman", "follows")
    configure(node, crun="/usr/bin/crun", extra="/usr/sbin/runc")
    wait_until(lambda: "extra" in text(node, PODMAN_FILE), "a new name", SOON_S)
    wait_for(node, "podman", "follows")


def test_an_engine_that_is_installed_later_is_followed_then(node: Installed) -> None:
    start(node, "nfd")
    wait_for(node, "nfd", "not-running")
    assert node.state(unit("nfd")) == "active (running)"
    node.run("mkdir", "-p", NFD_DIRECTORY)
    try:
        wait_for(node, "nfd", "follows")
        assert "runtime-crun=true" in node.run("sh", "-c", f"cat {NFD_DIRECTORY}/features.d/*").stdout
    finally:
        node.systemctl("stop", unit("nfd"))
        node.run("rm", "-rf", NFD_DIRECTORY)


def test_a_full_disk_is_reported_and_tried_again(node: Installed) -> None:
    node.run("mkdir", "-p", NFD_DIRECTORY)
    node.run("mount", "-t", "tmpfs", "-o", "size=16k,mode=0755", "none", NFD_DIRECTORY)
    try:
        node.run("sh", "-c", f"cat /dev/zero > {NFD_DIRECTORY}/full", status=1)
        start(node, "nfd")
        found = wait_for(node, "nfd", "differs")
        assert "no space left on device" in found["detail"].lower()
        assert node.state(unit("nfd")) == "active (running)"
        node.run("rm", f"{NFD_DIRECTORY}/full")
        wait_for(node, "nfd", "follows")
        assert node.show("NRestarts", unit("nfd")) == "0"
    finally:
        node.systemctl("stop", unit("nfd"))
        node.run("umount", NFD_DIRECTORY)
        node.run("rmdir", NFD_DIRECTORY)


def test_the_daemon_may_be_stopped_killed_and_started(node: Installed) -> None:
    start(node, "docker")
    wait_for(node, "docker", "follows")
    pid = node.show("MainPID", unit("docker"))
    node.kill()
    wait_for(node, "docker", "follows")
    node.systemctl("stop", "runtimed.socket", SERVICE)
    configured = {"runtimes": {"crun": {"path": "/usr/bin/crun"}, "while-stopped": {"path": "/usr/sbin/runc"}}}
    node.write(configured)
    node.systemctl("start", "runtimed.socket", SERVICE)
    wait_until(lambda: "while-stopped" in docker_runtimes(node), "a name that came while it was stopped", SOON_S)
    wait_for(node, "docker", "follows")
    assert node.show("MainPID", unit("docker")) == pid
    assert node.show("NRestarts", unit("docker")) == "0"


def test_an_engine_that_stops_is_not_running_and_follows_when_it_is_back(node: Installed) -> None:
    start(node, "docker")
    wait_for(node, "docker", "follows")
    # systemd listens on docker's socket, and a connection to it would start dockerd.
    node.systemctl("stop", "docker.service")
    configure(node, **{name: each["path"] for name, each in TABLE["runtimes"].items()}, extra="/usr/sbin/runc")
    wait_for(node, "docker", "not-running")
    # It may have been verified between the stop and the change.
    wait_until(lambda: "extra" in text(node, DOCKER_FILE), "a new name in the file", SOON_S)
    assert node.state("docker.socket").startswith("active")
    assert node.state("docker.service") == "inactive (dead)"
    node.systemctl("start", "docker.service")
    wait_for(node, "docker", "follows")


def test_a_file_of_another_program_is_reported_and_left_alone(node: Installed) -> None:
    path = node.machine.root / CONTAINERD_FILE[1:]
    before = path.read_bytes()
    put(path, "# another program's\n")
    try:
        start(node, "containerd")
        wait_until(lambda: "was not written by runtimectl" in str(engine(node, "containerd")), "a report", SOON_S)
        assert path.read_text() == "# another program's\n"
        assert node.state(unit("containerd")) == "active (running)"
    finally:
        put(path, before)
    wait_until(lambda: "was not written" not in str(engine(node, "containerd")), "the next attempt", SOON_S)


def test_an_instance_that_is_no_engine_with_a_file_fails_once(node: Installed) -> None:
    for name in ("kubernetes", "nothing"):
        node.systemctl("start", unit(name), status=1)
        assert node.show("NRestarts", unit(name)) == "0"
        assert node.state(unit(name)) == "failed (failed)"
        node.systemctl("reset-failed", unit(name))


def test_uninstalling_leaves_the_engines_as_they_are(node: Installed) -> None:
    node.systemctl("enable", "--now", unit("docker"))
    wait_for(node, "docker", "follows")
    before = text(node, DOCKER_FILE)
    node.install("--uninstall")
    assert text(node, DOCKER_FILE) == before
    assert "runtimed" not in node.systemctl("list-unit-files", "--no-legend", "runtimed*", status=None)
    assert not list((node.machine.root / "etc/systemd/system/multi-user.target.wants").glob("runtimed*"))
    assert not list((node.machine.root / "usr/local/lib/systemd/system").glob("runtimed*"))
    node.systemctl("restart", "docker.service")
    assert "crun" in docker_runtimes(node)
    stable = json.loads(before)["runtimes"]["crun"]["path"]
    assert node.run(stable, "--version").stdout.startswith("crun ")
