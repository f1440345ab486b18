"""References of containers, read from real directories."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness.engine_state import ROOT, SHIM, SHIM_BINARY, WRAPPER, EngineState, container, new_node, ordinary_user

from runtimed.core.collection.references import Reference, ReferenceScan
from runtimed.core.config import Engine
from runtimed.core.containerd.api import Container
from runtimed.core.containerd.options import GENERIC, RUNC, encode_options, make_options
from runtimed.host.containers import Task, read_tasks, scan_references


@pytest.fixture
def node() -> Iterator[EngineState]:
    with new_node() as node:
        yield node


def test_a_running_container_refers_to_the_paths_in_its_bundle(node: EngineState) -> None:
    options = json.dumps({"binary_name": WRAPPER, "root": "/run/r"})
    node.bundle("a", runtime=WRAPPER, options__json=options, shim_binary_path=SHIM_BINARY)
    node.bundle("a", "k8s.io", runtime="/opt/crun", options__json="{}")
    # containerd 1.3 wrote no options.json; the binary may be a bare name, which is no path
    node.bundle("b", "k8s.io", runtime="/opt/b")
    node.bundle("c", "k8s.io", runtime="runc", options__json='{"binary_name":"runc"}')
    assert node.found() == {
        (WRAPPER, "container moby/a (task)"),
        (SHIM_BINARY, "container moby/a (task)"),
        ("/opt/crun", "container k8s.io/a (task)"),
        ("/opt/b", "container k8s.io/b (task)"),
    }


def test_each_file_of_a_bundle_is_a_separate_reference(node: EngineState) -> None:
    node.bundle("a", runtime="/opt/one", options__json='{"binary_name":"/opt/two"}')
    assert {path for path, _ in node.found()} == {"/opt/one", "/opt/two"}


def test_a_bundle_that_is_being_deleted_still_refers(node: EngineState) -> None:
    node.bundle(".a", runtime=WRAPPER)
    assert node.found() == {(WRAPPER, "container moby/a (task)")}


def test_a_bundle_without_the_files_names_nothing(node: EngineState) -> None:
    # The shim is not runc's, or has not handled Create yet.
    node.bundle("a", config__json="{}")
    node.bundle("b")
    assert node.found() == set()


def test_a_file_among_the_bundles_is_no_container(node: EngineState) -> None:
    node.bundle("a", runtime=WRAPPER)
    (node.tasks / "moby/file").write_text("")
    (node.tasks / "file").write_text("")
    assert len(node.found()) == 1


def test_bundles_of_the_first_shim_of_containerd_1_are_read(node: EngineState) -> None:
    bundle = node.root / "state/io.containerd.runtime.v1.linux/moby/a"
    bundle.mkdir(parents=True)
    (bundle / "runtime").write_text("/opt/old")
    value = b"\x0a\x08/opt/new"
    linux = "containerd.linux.runc.RuncOptions"
    node.listed = [Container("moby", "a", "io.containerd.runtime.v1.linux", linux, value)]
    assert node.found() == {("/opt/old", "container moby/a (task)"), ("/opt/new", "container moby/a (task)")}


def test_bundles_of_sandboxes_are_read(node: EngineState) -> None:
    bundle = node.root / "state/io.containerd.sandbox.controller.v1.shim/k8s.io/sb"
    bundle.mkdir(parents=True)
    (bundle / "shim-binary-path").write_text(SHIM_BINARY)
    (bundle / "runtime").write_text(WRAPPER)
    holder = "container k8s.io/sb (task)"
    assert node.found() == {(SHIM_BINARY, holder), (WRAPPER, holder)}
    bundle.chmod(0)
    with ordinary_user():
        assert f"{bundle}: Permission denied" in node.unknown()


def test_a_sandbox_refers_to_the_paths_in_its_options(node: EngineState) -> None:
    node.listed = [replace(container("sb", WRAPPER, "k8s.io"), is_sandbox=True)]
    assert node.found() == {(WRAPPER, "sandbox k8s.io/sb")}
    node.listed = [Container("k8s.io", "sb", SHIM, RUNC, b"\xff", is_sandbox=True)]
    assert "sandbox k8s.io/sb: undecodable" in node.unknown()


def test_pins_and_their_faults_are_part_of_the_scan(node: EngineState) -> None:
    node.bundle("a", runtime="/opt/x")
    pins = ReferenceScan((Reference(WRAPPER, "container a (pin)"),), ("pins: unreadable",))
    scan = scan_references(
        [node.engine],
        below=ROOT,
        list_containers=node.list,
        pins=pins,
        proc=str(node.proc),
        root=str(node.root / "host"),
    )
    assert scan.unknown == pins.unknown
    assert {reference.path for reference in scan.references} == {WRAPPER, "/opt/x"}


def test_the_tasks_whose_binary_is_a_path_are_listed_with_their_time(node: EngineState) -> None:
    node.bundle("a", options__json='{"binary_name":"/x/a","root":"/r"}')
    node.bundle("b", "k8s.io", options__json='{"binary_name":"/x/b"}')
    node.bundle("name", options__json='{"binary_name":"runc"}')
    node.bundle("skipped", options__json='{"binary_name":"/x/a"}')
    node.bundle(".deleted", options__json='{"binary_name":"/x/a"}')
    node.bundle("broken", options__json="{")
    node.bundle("empty")
    (node.tasks / "file").write_text("")
    os.utime(node.tasks / "moby/a/options.json", (5, 5))
    os.utime(node.tasks / "k8s.io/b/options.json", (6, 6))
    skip = {str(node.tasks / "moby/skipped")}
    assert sorted(read_tasks(node.engine.state, skip), key=lambda task: task.id) == [
        Task("moby", "a", "/x/a", "/r/moby", str(node.tasks / "moby/a"), 5.0),
        Task("k8s.io", "b", "/x/b", "/run/containerd/runc/k8s.io", str(node.tasks / "k8s.io/b"), 6.0),
    ]
    assert list(read_tasks(f"{node.root}/none", ())) == []


def test_a_stopped_container_refers_to_the_paths_in_its_options(node: EngineState) -> None:
    node.bundle("a", runtime=WRAPPER)
    node.listed = [
        container("a", WRAPPER),
        container("b", "/opt/b"),
        container("c", None, shim="/opt/containerd-shim-x-v1"),
        container("d", "crun"),
        Container("moby", "e", "io.containerd.kata.v2", "", b""),
    ]
    assert node.found() == {
        (WRAPPER, "container moby/a (task)"),
        ("/opt/b", "container moby/b (stopped)"),
        ("/opt/containerd-shim-x-v1", "container moby/c (stopped)"),
    }


def test_a_wrapper_in_the_options_of_another_shim_makes_them_unknown(node: EngineState) -> None:
    body = f"binary = '{WRAPPER}'".encode()
    value = encode_options(make_options(GENERIC, {"config_body": body}))
    node.listed = [Container("moby", "a", "io.containerd.runsc.v1", GENERIC, value)]
    assert (
        "container moby/a (stopped): options of type runtimeoptions.v1.Options name something below" in node.unknown()
    )


def test_undecodable_options_are_unknown_and_other_containers_are_found(node: EngineState) -> None:
    node.listed = [Container("moby", "a", SHIM, RUNC, b"\xff"), container("b", WRAPPER)]
    assert "container moby/a (stopped): undecodable" in node.unknown()
    assert Reference(WRAPPER, "container moby/b (stopped)") in node.scan().references


def test_a_path_that_is_not_utf_8_survives(node: EngineState) -> None:
    node.bundle("a", runtime=b"/opt/\xff")
    assert [os.fsencode(path) for path, _ in node.found()] == [b"/opt/\xff"]


@pytest.mark.parametrize(
    "spoil",
    [
        # half-written, empty (about to be written), too large, a directory, a pipe without a writer, a link
        lambda bundle: (bundle / "options.json").write_text('{"binary_na'),
        lambda bundle: (bundle / "options.json").write_text(""),
        lambda bundle: (bundle / "runtime").write_bytes(b"/" + b"x" * 2**20),
        lambda bundle: (bundle / "runtime").mkdir(),
        lambda bundle: os.mkfifo(bundle / "runtime"),
        lambda bundle: (bundle / "runtime").symlink_to("/etc/passwd"),
    ],
)
def test_a_damaged_bundle_is_unknown_and_the_others_are_found(
    node: EngineState, spoil: Callable[[Path], object]
) -> None:
    spoil(node.bundle("a"))
    node.bundle("b", runtime=WRAPPER)
    assert f"{node.tasks}/moby/a: " in node.unknown()
    assert Reference(WRAPPER, "container moby/b (task)") in node.scan().references


@pytest.mark.parametrize("path", ["", "moby", "moby/a", "moby/a/runtime"])
def test_an_unreadable_file_or_directory_is_unknown(node: EngineState, path: str) -> None:
    node.bundle("a", runtime=WRAPPER)
    node.bundle("b", "other", runtime=WRAPPER)
    os.chmod(node.tasks / path, 0)
    with ordinary_user():
        result = node.scan()
    os.chmod(node.tasks / path, 0o700)
    assert len(result.unknown) == 1
    assert "Permission denied" in result.unknown[0]
    assert len(result.references) == (1 if path else 0)


def test_an_engine_whose_state_cannot_be_read_is_unknown(node: EngineState) -> None:
    (node.root / "c.sock").unlink()
    (node.root / "state").chmod(0)
    with ordinary_user():
        assert "Permission denied" in node.unknown()
    (node.root / "state").chmod(0o700)


def test_the_number_of_reported_faults_is_limited(node: EngineState) -> None:
    for number in range(200):
        node.bundle(str(number), options__json="")
    assert len(node.scan().unknown) == 51
    assert node.scan().unknown[-1] == "and 150 more"


def test_an_absent_engine_has_no_references_and_is_not_called(node: EngineState) -> None:
    (node.root / "c.sock").unlink()
    shutil.rmtree(node.root / "state")
    shutil.rmtree(node.root / "root")
    node.listed = None
    assert node.found() == set()
    # ctr and shims leave other things in /run/containerd
    (node.root / "state/s").mkdir(parents=True)
    assert node.found() == set()


@pytest.mark.parametrize("left", ["c.sock", "state", "root"])
def test_an_engine_that_is_partly_there_must_answer(node: EngineState, left: str) -> None:
    # root alone: after a reboot, containerd not started yet. state alone: its root is elsewhere, or was removed.
    node.listed = None
    for name in {"c.sock", "state", "root"} - {left}:
        path = node.root / name
        path.unlink() if name == "c.sock" else shutil.rmtree(path)
    assert "does not answer" in node.unknown()


@pytest.mark.parametrize("name", ["io.containerd.runtime.v1.linux", "io.containerd.sandbox.controller.v1.shim"])
def test_an_engine_with_bundles_of_another_kind_must_answer(node: EngineState, name: str) -> None:
    (node.root / "c.sock").unlink()
    for directory in ("state", "root"):
        shutil.rmtree(node.root / directory)
    (node.root / "state" / name).mkdir(parents=True)
    node.listed = None
    assert "does not answer" in node.unknown()


def test_the_running_containers_of_a_stopped_engine_are_found(node: EngineState) -> None:
    node.bundle("a", runtime=WRAPPER)
    node.listed = None
    assert "does not answer" in node.unknown()
    assert node.scan().references == (Reference(WRAPPER, "container moby/a (task)"),)


def test_an_engine_without_a_known_root_never_counts_as_absent(node: EngineState) -> None:
    shutil.rmtree(node.root / "state")
    node.engine = Engine(f"{node.root}/none.sock", f"{node.root}/state")
    node.listed = None
    assert "does not answer" in node.unknown()


def test_an_engine_without_its_task_directory_is_unknown(node: EngineState) -> None:
    shutil.rmtree(node.root / "state")
    node.listed = [container("a", WRAPPER)]
    assert f"{node.tasks}: No such file or directory" in node.unknown()


def test_bundles_that_are_deleted_during_the_scan_are_no_fault(node: EngineState) -> None:
    node.bundle("steady", runtime=WRAPPER)
    stop = threading.Event()

    def churn(worker: int) -> None:
        number = 0
        while not stop.is_set():
            # As containerd does: made whole elsewhere here, renamed to a hidden name, then removed file by file.
            number += 1
            made = node.root / f"made-{worker}"
            made.mkdir()
            (made / "runtime").write_text("/opt/x")
            name = f"{worker}-{number % 7}"
            made.rename(node.tasks / "moby" / name)
            (node.tasks / "moby" / name).rename(node.tasks / "moby" / f".{name}")
            shutil.rmtree(node.tasks / "moby" / f".{name}")

    threads = [threading.Thread(target=churn, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    try:
        end = time.monotonic() + 1.5
        scans = 0
        while time.monotonic() < end or scans < 100:
            scans += 1
            assert (WRAPPER, "container moby/steady (task)") in node.found()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_bundle_that_is_listed_but_cannot_be_found_is_unknown(node: EngineState) -> None:
    (node.tasks / "moby").mkdir()
    (node.tasks / "moby/a").symlink_to("nowhere")
    assert "moby/a is listed but cannot be found" in node.unknown()


@pytest.mark.timeout(600)
def test_ten_thousand_containers_take_seconds(node: EngineState) -> None:
    options = json.dumps({"binary_name": WRAPPER})
    for number in range(10_000):
        node.bundle(f"{number:064}", runtime=WRAPPER, options__json=options, shim_binary_path=SHIM_BINARY)
    node.listed = [container(f"{number:064}", WRAPPER) for number in range(10_000)]
    # Processor time: how long it takes beside other work says nothing about the scan.
    begin = time.process_time()
    assert len(node.found()) == 20_000
    duration_s = time.process_time() - begin
    assert duration_s < 20


def test_several_engines_are_all_scanned(node: EngineState) -> None:
    with new_node() as other:
        other.bundle("b", runtime="/opt/b")
        node.bundle("a", runtime="/opt/a")
        engines = [node.engine, other.engine]
        nothing = str(node.root / "host")
        result = scan_references(
            engines, below=ROOT, list_containers=lambda _address: [], proc=str(node.proc), root=nothing
        )
    assert {reference.path for reference in result.references} == {"/opt/a", "/opt/b"}
