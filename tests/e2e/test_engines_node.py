"""Engines on a booted machine with the service under its real unit: containers that they start, and stopped ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from e2e.harness.installed import ROOTFS, SERVICE, Installed, build_rootfs, new_installation
from harness.daemon import PATIENCE_S, put, wait_until

from runtimed.core.table.wrapper import make_wrapper

pytestmark = pytest.mark.timeout(900)
DOCKER_CONFIG = "etc/docker/daemon.json"
# What dockerd and podman would do to the network and the disk has no place here.
DOCKER: Mapping[str, Any] = {"storage-driver": "vfs", "iptables": False, "bridge": "none", "ip-forward": False}
PODMAN = ("podman", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
# The limits that podman sets by itself are more than a container that runs these tests may set.
PODMAN_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
GRACE_S = 2
# The daemon looks at the containers every minute, also where the look of a reload takes too long.
LOOK_S = 150


@pytest.fixture(scope="module")
def installation() -> Iterator[Installed]:
    with new_installation() as node:
        node.machine.let_containers_run()
        node.systemctl("unmask", "containerd.service")
        node.systemctl("start", "containerd.service")
        build_rootfs(node)
        # Left by whatever ran on the machine below.
        node.systemctl("stop", "docker.service", "docker.socket", status=None)
        node.run("rm", "-rf", "/var/lib/containers", "/var/lib/docker", "/etc/docker")
        yield node


@pytest.fixture
def node(installation: Installed) -> Iterator[Installed]:
    """Yield a node whose service collects after a short grace time."""
    installation.systemctl("start", SERVICE)
    configure(installation)
    yield installation
    (installation.machine.root / DOCKER_CONFIG).unlink(missing_ok=True)


def configure(node: Installed, **more: object) -> None:
    node.write({"runtimed": {"grace": GRACE_S}, **more})
    node.systemctl("reload", SERVICE)


@pytest.mark.parametrize("driver", ["systemd", "cgroupfs"])
@pytest.mark.parametrize("name", ["crun", "wrapped"])
def test_the_words_for_ctr_start_containers_with_either_cgroup_driver(node: Installed, driver: str, name: str) -> None:
    runtimes = {"crun": {"path": "/usr/bin/crun"}, "wrapped": {"path": "/usr/sbin/runc", "runtimeArgs": ["--debug"]}}
    configure(node, runtimes=runtimes, **{"exec-opts": [f"native.cgroupdriver={driver}"]})
    containers = [f"{name}-{driver}-{number}" for number in (1, 2)]
    for container in containers:
        # The line of README, with a root file system in place of an image.
        words = f"$(runtimectl resolve {name} --format ctr) --rootfs {ROOTFS} {container}"
        node.run("sh", "-c", f"ctr run --detach {words} /bin/sleep 1000")
    # crun asks systemd for no scope on a hybrid hierarchy, which this machine may have.
    if name == "wrapped" or driver == "cgroupfs":
        expected = len(containers) if driver == "systemd" else 0
        # systemd hears later of the end of those that other tests have removed.
        wait_until(lambda: len(scopes(node)) == expected, f"{expected} scopes; there are {scopes(node)}")
    for container in containers:
        # Its status tells: on a busy machine ctr may lose the output.
        node.run("ctr", "tasks", "exec", "--exec-id", "x", container, "/bin/sh", "-c", "exit 42", status=42)
        node.run("ctr", "tasks", "kill", "--signal", "KILL", container)
    for container in containers:
        wait_until(partial(ended, node, container), f"the end of {container}")
        node.run("ctr", "tasks", "rm", container)
        node.run("ctr", "containers", "rm", container)


def scopes(node: Installed) -> list[str]:
    words = ("--plain", "--no-legend", "--state=running", "runtimed-*.scope")
    return node.run("systemctl", "list-units", *words).stdout.splitlines()


def ended(node: Installed, container: str) -> bool:
    lines = node.run("ctr", "tasks", "ls").stdout.splitlines()
    return any(line.startswith(f"{container} ") and "STOPPED" in line for line in lines)


def test_a_container_started_through_the_stable_path_keeps_its_runtime(node: Installed) -> None:
    configure(node, runtimes={"life": {"path": "/usr/sbin/runc"}})
    stable = node.ctl("resolve", "life", "--format", "path").strip()
    containers = [f"life-{number}" for number in range(4)]
    for container in containers:
        node.run("ctr", "run", "--detach", "--runc-binary", stable, "--rootfs", ROOTFS, container, "/bin/sleep", "1000")

    def use_up() -> None:
        container = containers.pop()
        node.run("ctr", "tasks", "exec", "--exec-id", "x", container, "/bin/sh", "-c", "exit 42", status=42)
        node.run("ctr", "tasks", "kill", "--signal", "KILL", container)
        wait_until(partial(ended, node, container), f"the end of {container}")
        node.run("ctr", "tasks", "rm", container)
        node.run("ctr", "containers", "rm", container)

    configure(node, runtimes={"life": {"path": "/usr/bin/crun"}})
    kept = {"runtime": "life", "containers": 4, "generation": node.number() - 1, "binary": "/usr/sbin/runc"}
    wait_until(lambda: json.loads(node.ctl("status", "--json"))["containers"]["kept"] == [kept], f"{kept}", LOOK_S)
    use_up()
    node.systemctl("stop", SERVICE)
    use_up()
    node.systemctl("start", SERVICE)
    node.kill()
    use_up()
    node.settle()
    configure(node)
    use_up()
    # A start looks at the containers at once, and again a minute later where the end of one is not complete.
    node.systemctl("restart", SERVICE)
    pins = node.machine.inside("/run/runtimed/pins")
    wait_until(lambda: not list(pins.iterdir()), "the pins of removed containers to be removed", LOOK_S)


def old_wrapper(node: Installed, name: str) -> str:
    """Make a wrapper that no generation names, as one that is long gone has left it, and return its path."""
    made = make_wrapper(name, "/usr/sbin/runc", ("--log-format", "text"))
    path = f"/var/lib/runtimed/wrappers/{made.file}"
    (node.machine.root / path[1:]).write_bytes(made.text)
    node.run("chmod", "0700", path)
    return path


def verdict(node: Installed, path: str) -> tuple[str, str]:
    """Return what a collection does to a wrapper, and why."""
    document = json.loads(node.ctl("gc", "--json"))
    return next((one["verdict"], one["reason"]) for one in document["wrappers"] if path.endswith(one["file"]))


def outlives_collection(node: Installed, path: str, holder: str) -> None:
    """See that ``path`` is kept through several grace times, in which a wrapper that nothing refers to is collected."""
    spare = old_wrapper(node, "spare")
    # A program that cleans up after the container may refer to it as well, for a while.
    wait_until(lambda: verdict(node, path) == ("keep", f"{holder} refers to it"), f"{holder}: {verdict(node, path)}")
    until = time.monotonic() + 2 * GRACE_S
    collected = False
    while not collected or time.monotonic() < until:
        assert verdict(node, path) == ("keep", f"{holder} refers to it")
        collected = not (node.machine.root / spare[1:]).exists()
        assert time.monotonic() < until + PATIENCE_S, verdict(node, spare)
        time.sleep(0.5)
    assert (node.machine.root / path[1:]).exists()


def test_a_stopped_container_of_podman_keeps_the_wrapper_that_it_was_created_with(node: Installed) -> None:
    wrapper = old_wrapper(node, "podmans")
    created = ("create", "--name", "p1", "--network", "none", *PODMAN_LIMITS, "--rootfs", ROOTFS, "/bin/sleep", "0")
    node.run(*PODMAN, "--runtime", wrapper, *created)
    outlives_collection(node, wrapper, "/var/lib/containers/storage/libpod/bolt_state.db")
    # No process has it in its arguments any more either, once it has run and ended.
    node.run(*PODMAN, "start", "--attach", "p1")
    outlives_collection(node, wrapper, "/var/lib/containers/storage/libpod/bolt_state.db")
    node.run(*PODMAN, "start", "--attach", "p1")
    node.run(*PODMAN, "rm", "p1")


def test_a_stopped_container_of_dockerd_keeps_the_wrapper_behind_its_runtimes_name(node: Installed) -> None:
    wrapper = old_wrapper(node, "dockers")
    put(node.machine.root / DOCKER_CONFIG, {**DOCKER, "runtimes": {"old": {"path": wrapper}}})
    node.systemctl("restart", "docker.service")
    docker = ("/usr/bin/docker",)
    node.run("sh", "-c", f"tar -C {ROOTFS} -c bin | docker import - busybox:test")
    node.run(
        *docker, "create", "--name", "d1", "--network", "none", "--runtime", "old", "busybox:test", "/bin/sleep", "0"
    )
    outlives_collection(node, wrapper, f"/{DOCKER_CONFIG}")
    node.run(*docker, "start", "--attach", "d1")
    # Nor does it need dockerd to run.
    node.systemctl("stop", "docker.service", "docker.socket")
    outlives_collection(node, wrapper, f"/{DOCKER_CONFIG}")
    node.systemctl("start", "docker.service")
    node.run(*docker, "start", "--attach", "d1")
    node.run(*docker, "rm", "d1")
    node.systemctl("stop", "docker.service", "docker.socket")
    put(node.machine.root / DOCKER_CONFIG, DOCKER)
    wait_until(lambda: verdict(node, wrapper)[0] == "collected", "a wrapper that nothing needs to be collected")
