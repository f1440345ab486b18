"""The real containerd: what it says of containers that really run, or ran, and what is left when it is gone."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from e2e.harness.containerd import RUNC_OPTIONS, SHIM, RunningContainerd, running_containerd
from harness.daemon import PATIENCE_S, paused

from runtimed.core.collection.references import Reference, ReferenceScan
from runtimed.core.config import Engine
from runtimed.core.containerd.api import ContainerdUnknown
from runtimed.core.containerd.options import RUNC, decode_options, encode_options, make_options
from runtimed.core.table.wrapper import make_wrapper
from runtimed.host.containerd import list_containers
from runtimed.host.containers import scan_references

SHIM_BINARY = "/usr/bin/containerd-shim-runc-v2"
GVISOR = ("--network=none", "--ignore-cgroups")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def containerd() -> Iterator[RunningContainerd]:
    with running_containerd() as containerd:
        yield containerd


def looked(containerd: RunningContainerd) -> ReferenceScan:
    asked = partial(list_containers, timeout_s=PATIENCE_S)
    return scan_references([containerd.engine], below=str(containerd.root / "data"), list_containers=asked)


def options(containerd: RunningContainerd, binary: str) -> bytes:
    return encode_options(make_options(RUNC, {"binary_name": binary, "root": str(containerd.root / "r")}))


def wrapper(containerd: RunningContainerd, name: str, path: str, *args: str) -> str:
    """Write a wrapper as the daemon does, and return its path."""
    made = make_wrapper(name, path, args)
    file = containerd.root / "data/wrappers" / made.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(made.text)
    file.chmod(0o700)
    return str(file)


def runtimes(containerd: RunningContainerd) -> dict[str, str]:
    found = {name: shutil.which(name) for name in ("runc", "crun")}
    assert all(found.values())
    return {
        **{name: str(path) for name, path in found.items()},
        "gvisor": wrapper(containerd, "gvisor", "/usr/bin/runsc", *GVISOR),
        "wrapped": wrapper(containerd, "wrapped", "/usr/sbin/runc", "--debug"),
    }


def test_containers_run_with_every_runtime_and_are_seen_with_their_tasks(containerd: RunningContainerd) -> None:
    for name, binary in runtimes(containerd).items():
        value = options(containerd, binary)
        identifier = containerd.run(RUNC_OPTIONS, value)
        containerd.exec(identifier, "/bin/true")
        # The Any went in exactly as it was given, and containerd reads it as we do.
        kept = containerd.containers_info(identifier)["Runtime"]
        assert kept["Name"] == SHIM
        assert kept["Options"] == {"type_url": RUNC_OPTIONS, "value": base64.b64encode(value).decode()}
        bundle = containerd.tasks / "default" / identifier
        assert json.loads((bundle / "options.json").read_bytes()) == decode_options(RUNC, value).readable()
        assert (bundle / "runtime").read_text() == binary, name
        listed = [found for found in list_containers(containerd.address, PATIENCE_S) if found.id == identifier]
        found = [(one.namespace, one.runtime_name, one.type_url, one.value) for one in listed]
        assert found == [("default", SHIM, RUNC_OPTIONS, value)]
        result = looked(containerd)
        assert result.unknown == ()
        held = {one.path for one in result.references if one.holder == f"container default/{identifier} (task)"}
        assert held == {binary, SHIM_BINARY}
        containerd.remove(identifier)


def test_containers_of_two_namespaces_with_the_same_id_are_two(containerd: RunningContainerd) -> None:
    identifier = containerd.new_id()
    binaries = {"moby": wrapper(containerd, "one", "/usr/bin/crun", "--debug"), "k8s.io": "/usr/bin/crun"}
    for namespace, binary in binaries.items():
        root = str(containerd.root / namespace)
        value = encode_options(make_options(RUNC, {"binary_name": binary, "root": root}))
        containerd.create_container(identifier, RUNC_OPTIONS, value, namespace=namespace)
    containerd.start_task(identifier, namespace="moby")
    references = looked(containerd).references
    assert Reference(binaries["moby"], f"container moby/{identifier} (task)") in references
    assert Reference(binaries["k8s.io"], f"container k8s.io/{identifier} (stopped)") in references
    for namespace in binaries:
        containerd.remove(identifier, namespace=namespace)


def test_a_stopped_container_still_refers_to_its_wrapper(
    containerd: RunningContainerd,
) -> None:
    binary = wrapper(containerd, "kept", "/usr/bin/crun", "--debug")
    identifier = containerd.run(RUNC_OPTIONS, options(containerd, binary))
    container = f"container default/{identifier}"

    def holders() -> list[str]:
        result = looked(containerd)
        assert result.unknown == ()
        return [reference.holder for reference in result.references if reference.path == binary]

    assert holders() == [f"{container} (task)"]
    containerd.kill(identifier)
    # Killed: the shim is there, and so is the bundle.
    assert holders() == [f"{container} (task)"]
    containerd.delete_task(identifier)
    # The state directory knows nothing of it any more.
    assert holders() == [f"{container} (stopped)"]
    containerd.start_task(identifier)
    assert holders() == [f"{container} (task)"]
    containerd.kill(identifier)
    containerd.delete_task(identifier)
    containerd.delete(identifier)
    assert holders() == []


def test_a_container_without_options_refers_to_its_shim_alone(containerd: RunningContainerd) -> None:
    # The shim runs "runc" from its PATH, in the root that all containerds share.
    identifier = containerd.run("", b"")
    held = [one.path for one in looked(containerd).references if identifier in one.holder]
    assert held == [SHIM_BINARY]
    bundle = containerd.tasks / "default" / identifier
    assert (bundle / "runtime").read_bytes() == b""
    assert (bundle / "options.json").read_bytes() == b"{}"
    containerd.remove(identifier)


def test_while_containerd_is_down_stopped_containers_are_unknown(
    containerd: RunningContainerd,
) -> None:
    binary = wrapper(containerd, "down", "/usr/bin/crun", "--debug")
    running, stopped = (containerd.run(RUNC_OPTIONS, options(containerd, binary)) for _ in range(2))
    containerd.kill(stopped)
    containerd.delete_task(stopped)
    for number, words in ((signal.SIGTERM, "not running"), (signal.SIGKILL, "unavailable")):
        containerd.stop(number)
        result = looked(containerd)
        assert any(words in text for text in result.unknown), result.unknown
        assert Reference(binary, f"container default/{running} (task)") in result.references
        assert not any(stopped in reference.holder for reference in result.references)
        # Nor is anything taken for absent when a reboot has emptied the state directory.
        rebooted = Engine(containerd.address, str(containerd.root / "empty"), containerd.engine.root)
        asked = partial(list_containers, timeout_s=PATIENCE_S)
        assert scan_references([rebooted], below="/x", list_containers=asked).unknown
        containerd.start()
        assert looked(containerd).unknown == ()
        assert Reference(binary, f"container default/{stopped} (stopped)") in looked(containerd).references
        containerd.exec(running, "/bin/true")
    for identifier in (running, stopped):
        containerd.remove(identifier)


def test_where_no_containerd_ever_was_nothing_is_unknown(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "c.sock"), str(tmp_path / "state"), str(tmp_path / "root"))
    result = scan_references(
        [engine], below=str(tmp_path), list_containers=partial(list_containers, timeout_s=PATIENCE_S)
    )
    assert result.unknown == ()
    assert not any(reference.holder.startswith("container") for reference in result.references)


def test_a_containerd_that_hangs_is_waited_for_no_longer_than_asked(containerd: RunningContainerd) -> None:
    assert containerd.process is not None
    with paused(containerd.process.pid), pytest.raises(ContainerdUnknown, match="deadline_exceeded"):
        list_containers(containerd.address, 0.5)


def test_containers_that_come_and_go_all_the_while_are_no_fault(containerd: RunningContainerd) -> None:
    steady = wrapper(containerd, "steady", "/usr/bin/crun", "--debug")
    kept = containerd.run(RUNC_OPTIONS, options(containerd, steady))
    passing = options(containerd, "/usr/bin/crun")
    stop = threading.Event()
    rounds = [0, 0, 0]

    def churn(number: int) -> None:
        while not stop.is_set():
            containerd.remove(containerd.run(RUNC_OPTIONS, passing))
            rounds[number] += 1

    results: list[ReferenceScan] = []
    with ThreadPoolExecutor(len(rounds)) as pool:
        churns = [pool.submit(churn, number) for number in range(len(rounds))]
        try:
            while len(results) < 60 or min(rounds) <= 3:
                results.append(looked(containerd))
                assert not any(churn.done() for churn in churns), churns
        finally:
            stop.set()
    for each in churns:
        each.result()
    for result in results:
        assert Reference(steady, f"container default/{kept} (task)") in result.references
        # A file that is being written is the only thing that may not be known for a moment.
        assert all("options.json" in text for text in result.unknown), result.unknown
    assert looked(containerd).unknown == ()
    containerd.remove(kept)


def test_more_containers_than_one_message_can_carry_are_all_listed(containerd: RunningContainerd) -> None:
    # 20 x 1 MB of specification; containerd sends 16 MiB at most in one message.
    value = options(containerd, "/usr/bin/crun")
    args = ("/bin/true", "x" * 1_000_000)
    made = [containerd.create_container(containerd.new_id(), RUNC_OPTIONS, value, args=args) for _ in range(20)]
    listed = {container.id for container in list_containers(containerd.address, PATIENCE_S)}
    for identifier in made:
        containerd.delete(identifier)
    assert listed >= set(made)
