"""Tests of how launchers read the command lines of engines, of people, and hostile ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from harness.launchers import SHELLS, Node, new_node
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.pins import Pin, pin_file, read_pins

ID = "c0ffee"
ROOT = "/run/containerd/runc/k8s.io"
BUNDLE = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c0ffee"
GO_RUNC = f"--root {ROOT} --log {BUNDLE}/log.json --log-format json"
CONMON = f"--systemd-cgroup --root={ROOT} --log-format=json --log {BUNDLE}/oci-log"
PODMAN = f"--log-format=json --log={BUNDLE}/oci-log"

# Command lines with ID, each with the --root and the bundle that its pin has.
CREATING = [
    # containerd's go-runc, 1.6 and 2.x; dockerd has the same shim.
    (f"{GO_RUNC} create --bundle {BUNDLE} --pid-file {BUNDLE}/init.pid ID", ROOT, BUNDLE),
    (
        f"{GO_RUNC} --systemd-cgroup --rootless=true create --bundle {BUNDLE} --pid-file p --console-socket s ID",
        ROOT,
        BUNDLE,
    ),
    (f"{GO_RUNC} create --bundle {BUNDLE} --pid-file p --pidfd-socket s --no-pivot --preserve-fds 1 ID", ROOT, BUNDLE),
    (f"--root {ROOT} --debug --log l --log-format json run --bundle {BUNDLE} --detach ID", ROOT, BUNDLE),
    (f"{GO_RUNC} restore --image-path /i --work-path /w --detach -no-subreaper --bundle {BUNDLE} ID", ROOT, BUNDLE),
    # conmon of podman and CRI-O
    (
        f"{CONMON} create --bundle {BUNDLE} --pid-file /p --no-pivot --no-new-keyring --console-socket /s ID",
        ROOT,
        BUNDLE,
    ),
    (f"{PODMAN} create --bundle {BUNDLE} --pid-file /p ID", "", BUNDLE),
    (
        f"{CONMON} restore --bundle {BUNDLE} --pid-file /p --detach --image-path /i --tcp-established ID",
        ROOT,
        BUNDLE,
    ),
    # people
    ("run ID", "", ""),
    ("run -b . ID", "", ""),
    (f"-debug --root {ROOT} run -b {BUNDLE} ID", ROOT, BUNDLE),
    (f"-root={ROOT} run -bundle={BUNDLE} ID", ROOT, BUNDLE),
    (f"-root {ROOT} -debug-log=/l/ -strace -platform ptrace -network none run -bundle {BUNDLE} ID", ROOT, BUNDLE),
    (f"--rootless --ignore-cgroups --root {ROOT} run --user-log /u --bundle {BUNDLE} ID", ROOT, BUNDLE),
    (f"-r {ROOT} -l /l -s create -b{BUNDLE} -c /s -p /p ID", ROOT, BUNDLE),
    (f"-r{ROOT} create ID -b {BUNDLE} --pid-file /p", ROOT, BUNDLE),
    (f"--cgroup disabled --root {ROOT} create --bund={BUNDLE} --con x ID", ROOT, BUNDLE),
    (f"--root {ROOT} run --bu {BUNDLE} -f config.json --keep ID", ROOT, BUNDLE),
    (f"--kata-config /c --root {ROOT} create --console /dev/pts/1 -b {BUNDLE} ID", ROOT, BUNDLE),
    (f"--root {ROOT} -- create -b {BUNDLE} -- ID", ROOT, BUNDLE),
    (f"--root /first --log --root --root {ROOT} create ID", ROOT, ""),
    (f"--unknown {ROOT} --root {ROOT} --another value create --unknown value ID", ROOT, ""),
    ("--root= run ID", "", ""),
]

# Command lines with the ID of a container that was created earlier, below ROOT.
LATER = [
    f"{GO_RUNC} start ID",
    f"{GO_RUNC} state ID",
    f"{GO_RUNC} kill ID 9",
    f"{GO_RUNC} kill --all ID 9",
    f"{GO_RUNC} delete ID",
    f"{GO_RUNC} delete --force ID",
    f"{GO_RUNC} exec --process /tmp/runc-process1 --console-socket /s --pidfd-socket /p --detach --pid-file /p ID",
    f"{GO_RUNC} pause ID",
    f"{GO_RUNC} resume ID",
    f"{GO_RUNC} ps --format json ID",
    f"{GO_RUNC} events --stats ID",
    f"{GO_RUNC} events --interval=5s ID",
    f"{GO_RUNC} update --resources=- ID",
    f"{GO_RUNC} checkpoint --image-path /i --work-path /w --parent-path /p --leave-running ID",
    f"{GO_RUNC} checkpoint --manage-cgroups-mode soft ID",
    f"{GO_RUNC} checkpoint --empty-ns network --page-server a:1 --lazy-pages --status-fd 3 --pre-dump ID",
    f"--root={ROOT} {PODMAN} exec --pid-file /p --process /x --detach --preserve-fds 2 ID",
    f"{PODMAN} kill --all ID 15",
    f"{PODMAN} kill ID --all",
    f"{PODMAN} delete --force ID",
    f"{PODMAN} start ID",
    f"--root={ROOT} update --resources /r ID",
    "delete -f ID",
    "kill -a ID KILL",
    "kill ID",
    "ps ID -ef",
    "ps -f table ID -o pid",
    "exec -t -e A=B -u 0:0 -g 1 --cwd /x --cap net --apparmor a --process-label l --cgroup x ID sh -c kill",
    "exec -tty -user 1 -env A=B -detach ID kill ID",
    "exec --user 0 --env=A ID true",
    "exec --no-new-privs --ignore-paused ID -- true",
    "exec -- ID true",
    "exec -exec-fd 3 -pass-fd 4:4 -internal-pid-file /p ID true",
    # crun's abbreviations
    "exec --proc /p --us 0 --detach --pid /p ID true",
    "update --mem 1 --cpu-sh 2 ID",
    "update --cpu-period 1 --pids-limit 2 --memory 3 -r - ID",
    "wait -pid 1 ID",
    "wait --rootpid 1 ID",
    "debug --stacks ID",
    "usage -full ID",
    "read-control ID cpuacct / usage",
    "mounts add ID list",
    "tar rootfs-upper --file /f ID",
    "fscheckpoint --image-path /i --path /p ID",
]

# Options and verbs that are not known, whose value is /v: the word that has a pin is the container.
UNKNOWN = [
    "exec --future /v ID true",
    "exec -td /v ID true",
    "kill --future --all ID 9",
    "future --option /v ID",
    "--future /v kill ID",
    "--rootless auto kill ID",
    "--rootless kill ID",
    "--debug kill ID",
]


@pytest.fixture(params=SHELLS, ids=" ".join)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    return new_node(tmp_path, request.param)


def words(line: str, container: str) -> list[str]:
    return [container if word == "ID" else word for word in line.split()]


@pytest.mark.parametrize(("line", "root", "bundle"), CREATING)
def test_a_pin_has_the_root_the_id_and_the_bundle_of_the_call(node: Node, line: str, root: str, bundle: str) -> None:
    old = node.launcher("old", "--x")
    assert node.executed(old, *words(line, ID)) == "old"
    assert [path.name for path in node.pins.iterdir()] == [ID]
    assert node.pinned(ID) == (Pin("gvisor", root, ID, root, bundle, old.target),)


# Any other word of a command line may be the id of another container.
@pytest.mark.parametrize("line", [*LATER, *UNKNOWN])
def test_a_later_call_executes_the_runtime_of_its_container_alone(node: Node, line: str) -> None:
    old, new, decoy = node.launcher("old"), node.launcher("new"), node.launcher("decoy")
    for word in {*words(line, "9"), "0"} - {"/v"}:
        node.pin(decoy, word, root=ROOT)
    node.pin(old, ID, root=ROOT)
    assert node.executed(new, *words(line, ID)) == "old"


def test_an_unknown_option_has_one_value_at_most(node: Node) -> None:
    new, decoy = node.launcher("new"), node.launcher("decoy")
    node.pin(decoy, "sh", root=ROOT)
    assert node.executed(new, "exec", "--future", "/v", "free", "sh") == "new"
    assert node.executed(new, "exec", "--future", "sh", "free") == "decoy"


@pytest.mark.parametrize("container", ["create", "kill", "exec", "features", "list", "root", "mounts", "0"])
def test_an_id_may_look_like_a_verb(node: Node, container: str) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    assert node.executed(old, *words(CREATING[0][0], container)) == "old"
    assert [pin.id for pin in node.pinned(container)] == [container]
    for line in (f"{GO_RUNC} exec --process {container} ID", "kill ID 9", "mounts add ID", "--future /v delete -f ID"):
        assert node.executed(new, *words(line, container)) == "old"
        assert node.executed(new, *words(line, "free")) == "new"


@pytest.mark.parametrize("line", LATER)
def test_no_other_words_pin_is_taken_for_that_of_a_container_without_one(node: Node, line: str) -> None:
    new, decoy = node.launcher("new"), node.launcher("decoy")
    for word in words(line, "9"):
        node.pin(decoy, word, root=ROOT)
    assert node.executed(new, *words(line, "free")) == "new"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--version",
        "-v",
        "--help",
        "--root",
        f"--root {ROOT}",
        "features",
        f"{GO_RUNC} list --format=json",
        "list -f json",
        "list c0ffee",
        "spec -b c0ffee",
        "spec --rootless",
        "help c0ffee",
        "do c0ffee",
        "--debug flags",
        "kill",
        "kill --all",
        "exec --process c0ffee",
        "create",
        "create --bundle /b",
        "create --help",
        "run --bundle",
        "--",
        "-",
        "- -",
    ],
)
def test_a_call_without_a_container_executes_the_current_definition(node: Node, line: str) -> None:
    new, old = node.launcher("new"), node.launcher("old")
    node.pin(old, ID, root=ROOT)
    node.pin(old, "/b", root=ROOT)
    before = {path.name: path.read_bytes() for path in node.pins.iterdir()}
    assert node.executed(new, *line.split()) == "new"
    assert {path.name: path.read_bytes() for path in node.pins.iterdir()} == before


def test_an_empty_word_is_passed_on(node: Node) -> None:
    new = node.launcher("new")
    for command in (("",), ("kill", ""), ("create", ""), ("", "kill", "c1"), ("exec", "c1", "")):
        assert node.executed(new, *command) == "new"


# Hostile command lines.

BYTE = st.integers(1, 255)
WORD = st.one_of(
    st.lists(BYTE, max_size=12).map(bytes),
    st.sampled_from(
        [b"", b"-", b"--", b"---", b"-=", b"--=", b"$@", b"`id`", b"'", b'"', b"\\", b"*", b"~", b"-n", b"a b"]
    ),
)
NAMES = ("root", "log", "debug", "bundle", "b", "process", "user", "tty", "all", "future", "pid-file", "memory")
OPTION = st.builds(
    lambda dashes, name, rest: dashes + name + rest,
    st.sampled_from([b"-", b"--"]),
    st.one_of(st.sampled_from([name.encode() for name in NAMES]), WORD.map(lambda word: word.replace(b"=", b""))),
    st.one_of(st.just(b""), WORD.map(lambda word: b"=" + word)),
)
COMMAND_LINE = st.lists(
    st.one_of(OPTION, WORD, st.sampled_from([b"create", b"run", b"kill", b"exec", b"update", b"mounts", b"x"])),
    max_size=9,
)
# An id with a line feed or tab has no pin, and one that begins with "-" is an option. bash, called bash and in a locale
# of UTF-8, misreads the bytes that it uses for itself, 1 and 127, where they follow half a character.
IDENTIFIER = st.one_of(
    st.lists(BYTE.filter(lambda byte: byte not in b"\t\n\1\x7f"), min_size=1, max_size=20).map(bytes),
    st.text("abcXYZ019_.-", min_size=1, max_size=210).map(str.encode),
    st.integers(1, 1024).map(lambda count: b"i" * count),
).filter(lambda word: not word.startswith(b"-"))


@pytest.fixture(params=SHELLS, ids=" ".join, scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[Node]:
    with TemporaryDirectory() as place:
        yield new_node(Path(place), request.param)


@pytest.mark.timeout(300)
@settings(max_examples=40)
@given(line=COMMAND_LINE)
def test_any_command_line_reaches_the_program_byte_for_byte(shared: Node, line: list[bytes]) -> None:
    for launcher in (shared.launcher("plain"), shared.launcher("wrapped", "--x", "a'b")):
        call = shared.call(launcher, *line)
        assert (call.error, call.status) == (b"", 0)
        assert call.args[-len(line) :] == tuple(line) or not line


def test_every_byte_but_tab_and_line_feed_may_be_in_an_id_and_a_root(shared: Node) -> None:
    old, new = shared.launcher("old"), shared.launcher("new")
    every = b"".join(b"x" + bytes([byte]) for byte in range(1, 256) if byte not in b"\t\n")
    assert shared.call(old, "--root", every, "create", every).args == (b"--root", every, b"create", every)
    assert shared.call(new, "--root", every, "kill", every).program == "old"


@pytest.mark.timeout(300)
@settings(max_examples=40)
@given(
    container=IDENTIFIER,
    root=IDENTIFIER,
    options=st.lists(st.sampled_from(["--pid-file", "--preserve-fds"]), max_size=2),
)
def test_any_container_keeps_its_runtime(shared: Node, container: bytes, root: bytes, options: list[str]) -> None:
    for path in shared.pins.iterdir():
        path.unlink()
    old, new = shared.launcher("old", "--x"), shared.launcher("new")
    values = [word for option in options for word in (option, container)]
    line = ("--root", root, "create", *values, "--", container)
    assert shared.call(old, *line).args == (b"--x", *(os.fsencode(word) for word in line))
    name = os.fsdecode(container)
    [path] = shared.pins.iterdir()
    assert path.name == pin_file(name)
    [pin] = read_pins(path.read_bytes())
    assert (os.fsencode(pin.root), pin.id, pin.target) == (root, name, old.target)
    for line in (
        ("--root", root, "kill", container, "9"),
        (b"--root=" + root, "exec", "--user", container, "--", container),
    ):
        call = shared.call(new, *line)
        assert (call.program, call.error) == ("old", b"")
        assert call.args == (b"--x", *(os.fsencode(word) for word in line))
