"""Answers of a running daemon, handed to a real containerd as they are: containers run, and options mean what they say.

The value of an answer is never decoded by the library that encoded it: the judges are containerd's shim, which writes
down what it understood, and protoc with message definitions that were written for this test.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from e2e.harness.containerd import RUNC_OPTIONS, SHIM, RunningContainerd
from e2e.harness.node import ContainerdNode, any_of, new_node
from harness.daemon import PATIENCE_S
from hypothesis import given, settings
from hypothesis import strategies as st

# Dozens of containers are started in one test.
pytestmark = pytest.mark.timeout(600)

GENERIC_OPTIONS = "runtimeoptions.v1.Options"
GVISOR = ("--network=none", "--ignore-cgroups")
KATA: dict[str, object] = {
    "runtimeType": "io.containerd.kata.v2",
    "options": {"ConfigPath": "/etc/kata containers/qemu.toml"},
}
RUNTIMES: Mapping[str, dict[str, object]] = {
    "crun": {"path": "/usr/bin/crun"},
    "gvisor": {"path": "/usr/bin/runsc", "runtimeArgs": list(GVISOR)},
    "wrapped": {"path": "/usr/sbin/runc", "runtimeArgs": ["--debug", "--log", "/dev/null"]},
    "a/b *;$(false)": {"path": "crun", "runtimeArgs": ["--debug"]},
    "bare": {"path": "crun"},
    "typed": {"runtimeType": SHIM, "options": {"BinaryName": "/usr/bin/crun", "IoUid": 7}},
    "older-shim": {"runtimeType": "io.containerd.runc.v1", "options": {"BinaryName": "crun"}},
    "shim-by-path": {"runtimeType": "/usr/bin/containerd-shim-runc-v2"},
    "kata": KATA,
}

# After containerd's api/types/runc/options/oci.proto and api/types/runtimeoptions/v1/api.proto.
PROTO = {
    RUNC_OPTIONS: """syntax = "proto3"; package containerd.runc.v1; message Options {
        bool no_pivot_root = 1; bool no_new_keyring = 2; string shim_cgroup = 3; uint32 io_uid = 4; uint32 io_gid = 5;
        string binary_name = 6; string root = 7; string criu_path = 8; bool systemd_cgroup = 9;
        string criu_image_path = 10; string criu_work_path = 11; string task_api_address = 12;
        uint32 task_api_version = 13; }""",
    GENERIC_OPTIONS: """syntax = "proto3"; package runtimeoptions.v1; message Options {
        string type_url = 1; string config_path = 2; bytes config_body = 3; }""",
}


@pytest.fixture(scope="module")
def node() -> Iterator[ContainerdNode]:
    assert shutil.which("protoc"), "install protobuf-compiler"
    with new_node() as node:
        # A shim that only this containerd has, so that only its rule for names finds it.
        node.containerd.programs.mkdir()
        (node.containerd.programs / "containerd-shim-named-v2").symlink_to("/usr/bin/containerd-shim-runc-v2")
        # One that only the daemon has: it answers no runtime whose shim it does not find.
        node.daemon.install("containerd-shim-kata-v2")
        node.write(RUNTIMES, "crun")
        node.daemon.start()
        yield node


def asked(node: ContainerdNode, name: str) -> dict[str, Any]:
    quoted = "".join(f"%{byte:02x}" for byte in name.encode())
    return node.daemon.resolve(quoted)


def understood(containerd: RunningContainerd, identifier: str) -> dict[str, Any]:
    """Return the options of a running container as containerd's shim has decoded them; Go leaves out what is empty."""
    options = containerd.tasks / "default" / identifier / "options.json"
    return dict(json.loads(options.read_bytes()))


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def runs(node: ContainerdNode, name: str) -> str:
    """Run a container through the answer to ``name`` in the ways of its life, and return which runtime ran it."""
    containerd, answer = node.containerd, asked(node, name)
    identifier = node.run(answer)
    kept = containerd.containers_info(identifier)["Runtime"]
    assert kept["Name"] == answer["shim"]
    expected = answer["options"] and {key: answer["options"][key] for key in ("type_url", "value")}
    assert kept["Options"] == expected, "what containerd keeps is, byte for byte, what was answered"
    fields = answer["options"]["fields"] if answer["options"] else {}
    assert understood(containerd, identifier) == filled(fields), "what containerd decodes is what the answer shows"
    # The status tells: on a busy machine ctr may lose what was printed.
    says_gvisor = "/bin/busybox dmesg | /bin/busybox grep -q gVisor && exit 43; exit 42"
    command = ("tasks", "exec", "--exec-id", "asked", identifier, "/bin/sh", "-c", says_gvisor)
    containerd.ctr(*command, status=43 if name == "gvisor" else 42)
    root = Path(fields.get("root") or "/run/containerd/runc") / "default"
    states = sorted(path.name for path in root.iterdir() if path.name.startswith(identifier))
    files = {path.name for path in (root / identifier).iterdir()} if states == [identifier] else set()
    containerd.kill(identifier)
    containerd.delete_task(identifier)
    containerd.start_task(identifier)
    containerd.remove(identifier)
    assert not any(path.name.startswith(identifier) for path in root.iterdir()), "the runtime has nothing left of it"
    if name == "gvisor":
        # The kernel in it has said so.
        return "runsc"
    return "crun" if "status" in files else "runc" if "state.json" in files else f"unknown: {states} {files}"


@pytest.mark.parametrize(
    ("name", "source", "shim", "runtime"),
    [
        ("runc", "stock", SHIM, "runc"),
        (SHIM, "stock", SHIM, "runc"),
        ("crun", "configured", SHIM, "crun"),
        ("bare", "configured", SHIM, "crun"),
        ("wrapped", "configured", SHIM, "runc"),
        ("gvisor", "configured", SHIM, "runsc"),
        # A name and a path that a shell or a file system could trip over.
        ("a/b *;$(false)", "configured", SHIM, "crun"),
        ("typed", "configured", SHIM, "crun"),
        ("older-shim", "configured", "io.containerd.runc.v1", "crun"),
        ("shim-by-path", "configured", "/usr/bin/containerd-shim-runc-v2", "runc"),
        # The default.
        ("", "configured", SHIM, "crun"),
        # Nobody configured these: containerd finds the shim by its own rule.
        ("io.containerd.runc.v1", "implicit", "io.containerd.runc.v1", "runc"),
        ("io.containerd.named.v2", "implicit", "io.containerd.named.v2", "runc"),
        ("org.example.named.v2", "implicit", "org.example.named.v2", "runc"),
    ],
)
def test_a_container_runs_through_the_answer_as_it_was_given(
    node: ContainerdNode, name: str, source: str, shim: str, runtime: str
) -> None:
    answer = asked(node, name)
    assert (answer["source"], answer["shim"]) == (source, shim)
    assert runs(node, name) == runtime


def test_the_arguments_of_a_wrapper_reach_the_processes_of_the_container(node: ContainerdNode) -> None:
    identifier = node.run(asked(node, "gvisor"))
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has ended
            commands.append(path.read_bytes().split(b"\0"))
    (sandbox,) = [words for words in commands if words[0] == b"runsc-sandbox" and identifier.encode() in words]
    assert {word.encode() for word in GVISOR} <= {re.sub(rb"=true$", b"", word) for word in sandbox}
    node.containerd.remove(identifier)


def test_an_implicit_name_without_a_shim_fails_in_containerd_with_its_binary(node: ContainerdNode) -> None:
    name = "io.containerd.missing.v7"
    shim = node.daemon.get(f"/v1/runtimes/{name}")[1]
    identifier = node.create(asked(node, name))
    command = ["ctr", "-a", node.containerd.address, "tasks", "start", "-d", "--null-io", identifier]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "containerd-shim-missing-v7" in done.stderr
    assert "containerd-shim-missing-v7" in json.dumps(shim)
    node.containerd.delete(identifier)


def test_options_of_a_runtime_that_containerd_cannot_find_are_kept(
    node: ContainerdNode,
) -> None:
    answer = asked(node, "kata")
    identifier = node.create(answer)
    kept = node.containerd.containers_info(identifier)["Runtime"]
    assert kept["Name"] == KATA["runtimeType"]
    assert kept["Options"] == {"type_url": GENERIC_OPTIONS, "value": answer["options"]["value"]}
    assert decoded(*any_of(answer), node.daemon.root) == {"config_path": "/etc/kata containers/qemu.toml"}
    node.containerd.delete(identifier)


def test_protoc_finds_the_documented_field_numbers_in_answers_without_any_definition(node: ContainerdNode) -> None:
    def raw(name: str) -> str:
        return protoc(any_of(asked(node, name))[1], "--decode_raw")

    root = f'7: "{node.daemon.root}/run/runtime-runc"\n'
    assert raw("runc") == f'6: "runc"\n{root}'
    assert raw("crun") == f'6: "/usr/bin/crun"\n{root}'
    launcher = (node.daemon.data / "runtimes" / "gvisor").resolve()
    (wrapper,) = (file for file in node.wrappers.glob("gvisor-*") if file != launcher)
    assert raw("gvisor") == f'6: "{wrapper}"\n{root}'
    assert raw("typed") == '4: 7\n6: "/usr/bin/crun"\n'
    assert raw("kata") == '2: "/etc/kata containers/qemu.toml"\n'


def protoc(value: bytes, *words: str) -> str:
    done = subprocess.run(["protoc", *words], input=value, check=True, capture_output=True, timeout=PATIENCE_S)
    return done.stdout.decode()


def decoded(type_url: str, value: bytes, scratch: Path) -> dict[str, object]:
    """Return what protoc reads in ``value``; as everywhere in protobuf, fields with their default are not in it."""
    (scratch / "options.proto").write_text(PROTO[type_url])
    text = protoc(value, f"--proto_path={scratch}", f"--decode={type_url}", "options.proto")
    found: dict[str, object] = {}
    for line in text.splitlines():
        name, _, literal = line.partition(": ")
        if literal.startswith('"'):
            # Its escapes are C's.
            found[name] = codecs.escape_decode(literal[1:-1])[0].decode(errors="surrogateescape")
        else:
            found[name] = {"true": True}.get(literal) or int(literal)
    return found


# No NUL, which daemon.json takes in no string.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)
UINT32 = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1]))
RUNC_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "NoPivotRoot": st.booleans(),
    "no_new_keyring": st.booleans(),
    "ShimCgroup": TEXT,
    "IoUid": UINT32,
    "io_gid": UINT32,
    # The name of a program that the test makes, or none.
    "BinaryName": st.one_of(st.just(""), NAMES),
    "Root": TEXT,
    "CriuPath": TEXT,
    "systemd_cgroup": st.booleans(),
    "CriuImagePath": TEXT,
    "CriuWorkPath": TEXT,
    "TaskApiAddress": TEXT,
    "task_api_version": UINT32,
}
GENERIC_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "TypeUrl": TEXT,
    "ConfigPath": TEXT,
    "ConfigBody": st.one_of(TEXT, st.binary(max_size=40).map(lambda b: {"base64": base64.b64encode(b).decode()})),
}


def as_text(value: object) -> object:
    """Return a readable field the way ``decoded`` has it."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"]).decode(errors="surrogateescape")
    return value


@settings(max_examples=40, deadline=None)
@given(runc=st.fixed_dictionaries({}, optional=RUNC_FIELDS), generic=st.fixed_dictionaries({}, optional=GENERIC_FIELDS))
def test_every_options_message_passes_containerd_and_protoc_unchanged(
    node: ContainerdNode, runc: dict[str, Any], generic: dict[str, Any]
) -> None:
    if runc.get("BinaryName"):
        binary = node.daemon.root / "any" / runc["BinaryName"]
        binary.parent.mkdir(exist_ok=True)
        binary.unlink(missing_ok=True)
        binary.symlink_to("/bin/false")
        runc = {**runc, "BinaryName": str(binary)}
    entries = {"runc-like": (SHIM, runc), "generic": ("io.containerd.kata.v2", generic)}
    node.configure({name: {"runtimeType": shim, "options": options} for name, (shim, options) in entries.items()})
    for name, (shim, options) in entries.items():
        answer = asked(node, name)
        assert (answer["shim"], answer["options"] is None) == (shim, not options)
        identifier = node.create(answer)
        kept = node.containerd.containers_info(identifier)["Runtime"]
        node.containerd.delete(identifier)
        if not options:
            assert kept["Options"] is None
            continue
        type_url, value = any_of(answer)
        # ctr leaves out what is empty.
        assert base64.b64decode(kept["Options"].get("value", "")) == value
        assert kept["Options"]["type_url"] == type_url
        readable = {key: as_text(value) for key, value in answer["options"]["fields"].items()}
        assert decoded(type_url, value, node.daemon.root) == filled(readable)
        assert len(readable) == len(options), "no field is lost"


# What the shim does with these fields of itself is either harmless here or, the last two, unknown to containerd 1.6.
SHIM_READS = {key: RUNC_FIELDS[key] for key in RUNC_FIELDS if key not in ("ShimCgroup", "BinaryName")}


@settings(max_examples=25, deadline=None)
@given(
    fields=st.fixed_dictionaries({"ShimCgroup": st.sampled_from(["", "/"])}, optional=SHIM_READS),
    name=NAMES,
    args=st.lists(TEXT, max_size=2),
)
def test_containerds_shim_reads_the_options_and_runs_the_binary_they_name(
    node: ContainerdNode, fields: dict[str, Any], name: str, args: list[str]
) -> None:
    # The binary keeps what the shim has decoded, and says that it cannot make a container.
    binary = node.containerd.root / "any" / name
    seen = node.containerd.root / "seen"
    seen.mkdir(exist_ok=True)
    binary.parent.mkdir(exist_ok=True)
    # Its working directory, the bundle, has the container's name. What the shim does after the failure comes too late.
    script = f'#!/bin/sh\n[ -e "{seen}/${{PWD##*/}}" ] || cp options.json "{seen}/${{PWD##*/}}"\nexit 1\n'
    binary.write_text(script)
    binary.chmod(0o700)
    typed = {"runtimeType": SHIM, "options": {**fields, "BinaryName": str(binary)}}
    path = {"path": str(binary), "runtimeArgs": args}
    node.configure({"typed": typed, "path": path})
    try:
        for runtime in ("typed", "path"):
            answer = asked(node, runtime)
            identifier = node.create(answer)
            command = ["ctr", "-a", node.containerd.address, "tasks", "start", "-d", "--null-io", identifier]
            done = subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE_S)
            assert done.returncode == 1, "this binary makes no containers"
            known = {k: v for k, v in answer["options"]["fields"].items() if not k.startswith("task_api")}
            assert json.loads((seen / identifier).read_bytes()) == filled(known), done.stderr
            node.containerd.remove(identifier)
    finally:
        binary.unlink()


@pytest.mark.parametrize("name", ["", "runc", "crun", "gvisor", "wrapped", "io.containerd.named.v2"])
def test_the_words_of_the_command_line_tool_start_a_container_with_ctr_alone(node: ContainerdNode, name: str) -> None:
    # Other tests of this file leave other tables behind.
    node.configure(RUNTIMES, "crun")
    containerd, identifier = node.containerd, node.containerd.new_id()
    tool = f"{sys.executable} -m runtimed.cli.ctl --socket {node.daemon.socket} resolve {name} --format ctr"
    run = (
        f"ctr -a {containerd.address} run -d --null-io --rootfs --read-only $({tool}) {containerd.rootfs} {identifier}"
    )
    done = subprocess.run(
        ["sh", "-c", f"{run} /bin/sleep 1000"], check=False, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    fields = (asked(node, name)["options"] or {"fields": {}})["fields"]
    assert understood(containerd, identifier) == filled(fields), "the same options as over the API"
    containerd.exec(identifier, "/bin/true")
    containerd.remove(identifier)
