"""References in the files of dockerd, podman, CRI-O and containerd."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.engine_state import ROOT, WRAPPER, EngineState, new_node, ordinary_user, process

from runtimed.core.collection.references import Reference
from runtimed.host.containers import engine_files
from runtimed.host.containers.engine_files import search_engine_files

NAME = WRAPPER.rpartition("/")[2]
HOME = os.path.expanduser("~")


@pytest.fixture
def node() -> Iterator[EngineState]:
    with new_node() as node:
        yield node


def write(node: EngineState, path: str, content: str | bytes = WRAPPER) -> Path:
    file = Path(f"{node.root}/host{path}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def search(node: EngineState, *locations: str) -> tuple[list[Reference], list[str]]:
    return search_engine_files(locations, f"{node.root}/host")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/docker/daemon.json",
        "/etc/containerd/config.toml",
        "/etc/containerd/conf.d/10-runtimes.toml",
        "/etc/containers/containers.conf",
        "/etc/containers/containers.conf.d/gvisor.conf",
        "/etc/containers/systemd/web.container",
        "/etc/crio/crio.conf.d/10-gvisor.conf",
        "/etc/systemd/system/docker.service.d/override.conf",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        "/var/lib/docker/runtimes/gvisor",
        "/var/lib/docker/containers/0123/hostconfig.json",
        "/var/lib/docker/containers/0123/config.v2.json",
        "/var/lib/containers/storage/libpod/bolt_state.db",
        "/var/lib/containers/storage/db.sql",
        f"{HOME}/.config/containers/containers.conf",
        f"{HOME}/.config/docker/daemon.json",
        f"{HOME}/.local/share/containers/storage/libpod/bolt_state.db",
    ],
)
def test_a_file_of_an_engine_that_contains_a_wrappers_path_refers_to_the_wrapper(node: EngineState, path: str) -> None:
    file = write(node, path, f'x "{ROOT}/wrappers/other-1" {WRAPPER}\0')
    assert node.found() == {(NAME, str(file)), ("other-1", str(file))}


def test_the_logs_of_dockerds_containers_are_not_read(node: EngineState) -> None:
    write(node, "/var/lib/docker/containers/0123/0123-json.log")
    assert search(node) == ([], [])


@pytest.mark.parametrize(
    ("file", "text", "state"),
    [
        ("/etc/docker/daemon.json", '{"data-root": "/srv/docker"}', "/srv/docker/runtimes/x"),
        ("/etc/default/docker", 'DOCKER_OPTS="--data-root /srv/docker"', "/srv/docker/containers/1/hostconfig.json"),
        ("/etc/containers/storage.conf", 'graphroot = "/srv/c"', "/srv/c/libpod/bolt_state.db"),
        ("/etc/containers/containers.conf", 'static_dir = "/srv/libpod"', "/srv/libpod/bolt_state.db"),
    ],
)
def test_containers_are_found_in_the_directory_that_a_configuration_file_names(
    node: EngineState, file: str, text: str, state: str
) -> None:
    write(node, file, text)
    assert search(node) == ([], [])
    assert search_names(node, write(node, state)) == {NAME}


def search_names(node: EngineState, file: Path, *locations: str) -> set[str]:
    references, unknown = search(node, *locations)
    assert unknown == []
    return {reference.path for reference in references if reference.holder == str(file)}


def test_containers_are_found_in_the_directory_that_arguments_of_dockerd_name(node: EngineState) -> None:
    write(node, "/srv/daemon.json", '{"data-root": "/srv/docker"}')
    file = write(node, "/srv/docker/runtimes/x")
    with process(["dockerd", "--config-file", "/srv/daemon.json"]):
        result = node.scan("/proc")
    assert Reference(NAME, str(file)) in result.references


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_arguments_of_other_users_processes_name_no_engine(node: EngineState) -> None:
    file = write(node, "/srv/docker/runtimes/x")
    one = node.proc / "123"
    one.mkdir()
    (one / "cmdline").write_bytes(b"dockerd\0--data-root\0/srv/docker\0")
    (one / "status").write_text("Name:\tdockerd\nUid:\t0\t0\t0\t0\n")
    assert node.found() == {(NAME, str(file))}
    (one / "status").write_text("Name:\tsu\nUid:\t65534\t0\t0\t0\n")
    assert node.found() == set()


def test_a_named_data_root_is_not_searched_as_a_whole(node: EngineState) -> None:
    write(node, "/etc/docker/daemon.json", '{"data-root": "/srv/docker"}')
    write(node, "/srv/docker/image/layer")
    assert search(node) == ([], [])


def test_a_path_across_two_reads_of_a_file_is_found(node: EngineState) -> None:
    for missing in range(0, len(WRAPPER), 7):
        text = b"x" * (engine_files._CHUNK - missing) + WRAPPER.encode()
        assert NAME in search_names(node, write(node, "/etc/docker/daemon.json", text))


def test_a_path_that_sqlite_splits_over_two_pages_is_found(node: EngineState) -> None:
    file = write(node, "/var/lib/containers/storage/db.sql", b"")
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute('CREATE TABLE "Container""Config" (Id TEXT PRIMARY KEY, Json TEXT, Blob BLOB)')
        filling = range(0, 4096, 16)
        row = f'{{"env":"{"x" * 9000}","runtime":"{ROOT}/wrappers/a%d-{"0" * 32}"}}%s'
        rows = [(str(number), row % (number, "y" * number), b"\xff") for number in filling]
        database.executemany('INSERT INTO "Container""Config" VALUES (?, ?, ?)', rows)
        database.commit()
    assert search_names(node, file) == {f"a{number}-{'0' * 32}" for number in filling}
    # The raw bytes of the file do not contain every path.
    assert any(f"a{number}-{'0' * 32}".encode() not in file.read_bytes() for number in filling)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096),
        lambda file: os.truncate(file, engine_files._FILE_MAX + 1),
    ],
)
def test_a_file_that_cannot_be_searched_is_unknown(node: EngineState, spoil: Callable[[Path], object]) -> None:
    file = write(node, "/var/lib/containers/storage/db.sql")
    spoil(file)
    references, unknown = search(node)
    assert references == []
    assert len(unknown) == 1
    assert unknown[0].startswith(f"{file}: ")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/docker/daemon.json",
        "/etc/containers/containers.conf.d",
        "/var/lib/docker",
        "/var/lib/docker/containers",
        "/var/lib/docker/containers/0123/hostconfig.json",
        "/var/lib/containers/storage",
    ],
)
def test_a_file_that_may_not_be_read_is_unknown(node: EngineState, path: str) -> None:
    if "." in path.rpartition("/")[2] and not path.endswith(".d"):
        target = write(node, path)
    else:
        target = write(node, f"{path}/x").parent
    target.chmod(0)
    try:
        with ordinary_user():
            _, unknown = search(node)
    finally:
        target.chmod(0o755)
    assert any("Permission denied" in text and text.startswith(str(target)) for text in unknown), unknown


def test_pipes_devices_and_cycles_of_links_are_ignored(node: EngineState) -> None:
    file = write(node, "/etc/containers/a.conf")
    os.mkfifo(file.with_name("pipe"))
    file.with_name("null").symlink_to("/dev/null")
    file.with_name("nowhere").symlink_to("nothing")
    file.with_name("circle").symlink_to(".")
    elsewhere = write(node, "/elsewhere/b.conf", f"{ROOT}/wrappers/linked-1")
    file.with_name("conf.d").symlink_to(elsewhere.parent)
    references, unknown = search(node)
    assert unknown == []
    assert {reference.path for reference in references} == {NAME, "linked-1"}
