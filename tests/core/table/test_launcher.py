"""Tests of launchers by executing them with real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import short_directory
from harness.launchers import SHELLS, Node, new_node

from runtimed.core.pins import Pin, read_pins
from runtimed.core.table.launcher import make_launcher, root_of
from runtimed.core.table.script import is_intact, is_script_file
from runtimed.host.container_states import usual_roots
from runtimed.host.store.disk import SCRIPT_MODE


@pytest.fixture(params=SHELLS, ids=" ".join)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    return new_node(tmp_path, request.param)


# Containers keep their runtime.


def test_a_container_keeps_the_runtime_it_was_created_with(node: Node) -> None:
    old, new = node.launcher("old", "--x"), node.launcher("new")
    assert node.executed(old, "--root", node.root, "create", "--bundle", "/b", "c1") == "old"
    node.state("c1")
    assert node.executed(new, "--root", node.root, "kill", "c1", "9") == "old"
    assert node.executed(new, f"--root={node.root}", "exec", "--process", "/tmp/x", "c1") == "old"
    assert node.executed(new, "--root", node.root, "state", "c2") == "new"
    assert node.pinned("c1") == (Pin("gvisor", node.root, "c1", node.root, "/b", old.target),)


def test_a_pinned_call_has_the_arguments_of_the_pinned_definition(node: Node) -> None:
    old, new = node.launcher("old", "--platform", "a b"), node.launcher("new", "--y")
    node.pin(old, "c1")
    assert node.call(new, "--root", node.root, "start", "c1").args[:2] == (b"--platform", b"a b")
    assert node.call(old, "--root", node.root, "start", "c1").args[:2] == (b"--platform", b"a b")
    assert node.call(new, "--root", node.root, "start", "c2").args[0] == b"--y"


def test_a_pin_of_the_current_definition_costs_no_second_shell(node: Node) -> None:
    old = node.launcher("old", "--x")
    node.pin(old, "c1")
    Path(old.target).unlink()
    assert node.executed(old, "--root", node.root, "start", "c1") == "old"


def test_a_failed_create_does_not_steal_a_pin(node: Node) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    node.executed(old, "--root", node.root, "create", "c1")
    state = node.state("c1")
    before = (node.pins / "c1").read_bytes()
    assert node.executed(new, "--root", node.root, "create", "c1") == "old"
    assert (node.pins / "c1").read_bytes() == before
    state.rmdir()
    Path(node.root, "c1_sandbox:c0.state").touch()
    assert node.executed(new, "--root", node.root, "run", "c1") == "old"
    assert (node.pins / "c1").read_bytes() == before


def test_an_id_that_is_used_again_gets_a_new_pin(node: Node) -> None:
    old, new = node.launcher("old", "--x"), node.launcher("new")
    node.executed(old, "--root", node.root, "create", "c1")
    assert node.executed(new, "--root", node.root, "create", "c1") == "new"
    assert node.executed(old, "--root", node.root, "kill", "c1") == "new"
    assert node.executed(old, "--root", node.root, "create", "c1") == "old"
    assert node.executed(new, "--root", node.root, "kill", "c1") == "old"
    assert [pin.target for pin in node.pinned("c1")] == [old.target]


def test_an_identical_pin_is_recorded_once(node: Node) -> None:
    old = node.launcher("old", "--x")
    for _ in range(3):
        node.executed(old, "--root", node.root, "create", "-b", "/b c", "c1")
    assert (node.pins / "c1").read_bytes().count(b"\n1\t") == 1
    node.executed(old, "--root", node.root, "create", "-b", "/other", "c1")
    assert (node.pins / "c1").read_bytes().count(b"\n1\t") == 2


def test_an_identical_pin_changes_the_file_so_that_a_sweep_keeps_it(node: Node) -> None:
    old = node.launcher("old", "--x")
    sizes = []
    for _ in range(100):
        node.executed(old, "--root", node.root, "create", "-b", "/b c", "c1")
        sizes.append((node.pins / "c1").stat().st_size)
    assert sizes[0] < sizes[1]
    assert sizes[-1] < sizes[0] + 50, "it does not grow for ever"


@pytest.mark.parametrize("made_again", ["", "$_rd_tab"])
@pytest.mark.parametrize("recorded", ["/b", "/another"])
def test_a_file_that_is_removed_meanwhile_gets_the_pin_again(node: Node, recorded: str, made_again: str) -> None:
    # The daemon renames the file between the launcher's look and its write, and other launchers may make it again.
    old = node.launcher("old")
    node.executed(old, "--root", node.root, "create", "-b", recorded, "c1")
    text = old.path.read_text()
    look = '\n_rd_look "$_rd_id"\n'
    assert text.count(look) == 1
    removal = f'rm "$_rd_file"; printf "{made_again}" >>"$_rd_file"\n'
    old.path.write_text(text.replace(look, look + removal))
    node.executed(old, "--root", node.root, "create", "-b", "/b", "c1")
    assert [pin.bundle for pin in node.pinned("c1")] == ["/b"]


@pytest.mark.parametrize("verb", ["create", "kill"])
def test_a_file_that_gets_its_name_back_between_two_looks_is_read(node: Node, verb: str) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    node.executed(old, "--root", node.root, "create", "c1")
    os.rename(node.pins / "c1", node.pins / ".aside.c1")
    text = new.path.read_text()
    look = "  if ! _rd_readable; then\n"
    assert text.count(look) == 1
    put_back = '    [ -e "$_rd_pins/.aside.c1" ] && mv "$_rd_pins/.aside.c1" "$_rd_file"\n'
    new.path.write_text(text.replace(look, look + put_back))
    executed = "new" if verb == "create" else "old"
    assert node.executed(new, "--root", node.root, verb, "c1") == executed
    assert [pin.target for pin in node.pinned("c1")] == [(old, new)[executed == "new"].target]


def test_a_write_to_a_file_that_another_launcher_makes_again_is_repeated(node: Node) -> None:
    old = node.launcher("old")
    node.executed(old, "--root", node.root, "create", "-b", "/another", "c1")
    text = old.path.read_text()
    write = "else\n      _rd_append\n"
    assert text.count(write) == 1
    old.path.write_text(text.replace(write, write + 'rm "$_rd_file"; echo >"$_rd_file"\n'))
    node.executed(old, "--root", node.root, "create", "-b", "/b", "c1")
    assert [pin.bundle for pin in node.pinned("c1")] == ["/b"]


def test_two_containers_of_one_id_do_not_share_a_pin(node: Node) -> None:
    # One is created with a root and one without, so each pin counts for the other as long as it is the only one.
    old, new = node.launcher("old"), node.launcher("new")
    node.executed(old, "--root", node.root, "create", "c1")
    node.state("c1")
    assert node.executed(new, "create", "c1") == "old"
    lines = (node.pins / "c1").read_bytes().split(b"\n")
    (node.pins / "c1").write_bytes(b"\n".join(line for line in lines if os.fsencode(node.root) not in line))
    assert node.executed(new, "kill", "c1") == "old", "it keeps the runtime that it was created with"


@pytest.mark.parametrize("kind", ["runc", "crun", "runsc", "youki"])
def test_without_a_known_root_the_usual_ones_tell_whether_a_container_exists(node: Node, kind: str) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    env = {"XDG_RUNTIME_DIR": str(node.place)}
    node.call(old, "create", "c1", env=env)
    assert node.pinned("c1") == (Pin("gvisor", "", "c1", "", "", old.target),)
    (node.place / kind / "c1").mkdir(parents=True)
    assert node.call(new, "create", "c1", env=env).program == "old"
    (node.place / kind / "c1").rmdir()
    assert node.call(new, "create", "c1", env=env).program == "new"


# Roots.


def test_a_root_is_compared_as_a_directory_too(node: Node) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    alias = node.place / "alias"
    alias.symlink_to(node.root)
    node.pin(old, "c1")
    assert node.executed(new, "--root", str(alias), "kill", "c1") == "old"
    assert node.executed(new, "--root", f"{node.place}/other", "kill", "c1") == "new"
    node.state("c1")
    assert node.executed(new, "--root", str(alias), "create", "c1") == "old"


def test_the_last_pin_counts_whichever_name_of_the_root_it_has(node: Node) -> None:
    old, new, last = node.launcher("old"), node.launcher("new"), node.launcher("last")
    alias = node.place / "alias"
    alias.symlink_to(node.root)
    node.pin(old, "c1")
    node.pin(last, "c1", root=str(alias))
    assert node.executed(new, "--root", node.root, "kill", "c1") == "last"


def test_a_call_without_a_root_finds_the_pin_of_any_root(node: Node) -> None:
    old, new, other = node.launcher("old"), node.launcher("new"), node.launcher("other")
    node.pin(old, "c1")
    assert node.executed(new, "kill", "c1") == "old"
    node.pin(other, "c1", root="", state="")
    node.pin(old, "c1", root="/run/another")
    assert node.executed(new, "kill", "c1") == "other"


def test_a_call_with_a_root_finds_a_pin_without_one(node: Node) -> None:
    old, new, other = node.launcher("old"), node.launcher("new"), node.launcher("other")
    node.pin(old, "c1", root="", state="")
    assert node.executed(new, "--root", "/r", "kill", "c1") == "old"
    node.pin(other, "c1")
    node.pin(old, "c1", root="", state="")
    assert node.executed(new, "--root", node.root, "kill", "c1") == "other"


def test_a_pin_without_a_root_is_not_that_of_another_known_root(node: Node) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    node.pin(old, "c1", root="", state=node.root)
    assert node.executed(new, "--root", node.root, "kill", "c1") == "old"
    assert node.executed(new, "--root", f"{node.root}/.", "kill", "c1") == "old"
    assert node.executed(new, "--root", "/another", "kill", "c1") == "new"
    node.pin(old, "c2", root="/run/one", state="")
    assert node.executed(new, "--root", "/another", "kill", "c2") == "new"


def test_the_root_among_the_runtimes_arguments_holds_the_state(node: Node) -> None:
    old, new = node.launcher("old", "--root", node.root), node.launcher("new")
    node.executed(old, "create", "c1")
    assert node.pinned("c1") == (Pin("gvisor", "", "c1", node.root, "", old.target),)
    node.state("c1")
    assert node.executed(new, "create", "c1") == "old"
    # The engine's comes last on the command line.
    node.executed(old, "--root", "/r", "create", "c2")
    assert node.pinned("c2") == (Pin("gvisor", "/r", "c2", "/r", "", old.target),)


def test_a_relative_root_is_below_the_working_directory(node: Node) -> None:
    old = node.launcher("old")
    node.call(old, "--root", "state", "create", "-b", "relative", "c1", cwd=str(node.place))
    assert node.pinned("c1") == (Pin("gvisor", "state", "c1", node.root, "", old.target),)


@pytest.mark.parametrize(
    ("args", "root"),
    [
        ((), ""),
        (("--root", "/r"), "/r"),
        (("--root=/r",), "/r"),
        (("-root=/r", "--debug"), "/r"),
        (("-r", "/r"), "/r"),
        (("-r/r",), "/r"),
        (("--root", "/a", "-root", "/b"), "/b"),
        (("--log", "--root", "/r"), ""),
        (("--log-format=json", "--debug", "--root", "/r"), "/r"),
        (("--root",), ""),
        (("--rooted=/r", "--systemd-cgroup"), ""),
    ],
)
def test_the_root_of_arguments(args: tuple[str, ...], root: str) -> None:
    assert root_of(args) == root


# Pins that cannot be written or read.


@pytest.mark.parametrize("hidden", ["exec", "exec/pins"])
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_for_an_ordinary_user_a_name_has_its_current_definition(shell: tuple[str, ...], hidden: str) -> None:
    with short_directory() as place:
        place.chmod(0o755)
        pins = place / "exec" / "pins"
        pins.mkdir(parents=True)
        old, new = (new_launcher(place, name, pins) for name in ("old", "new"))
        subprocess.run([*shell, old, "create", "c1"], check=True, capture_output=True)
        assert (pins / "c1").exists()
        (place / hidden).chmod(0)
        user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
        try:
            for verb in ("create", "run", "restore", "start", "kill", "delete", "features"):
                words = ("--root", f"{place}/state", verb, *(["c1"] if verb != "features" else []))
                done = subprocess.run([*user, *shell, new, *words], check=False, capture_output=True, text=True)
                assert (done.stdout.split("\0")[:-1], done.stderr) == (["new", "--x", *words], ""), verb
        finally:
            (place / hidden).chmod(0o700)
        assert [each.name for each in pins.iterdir()] == ["c1"]


def new_launcher(place: Path, name: str, pins: Path) -> Path:
    """Return a launcher for a program that prints its name and arguments, with an argument, and with ``pins``."""
    program = Node(place, ()).program(name)
    script = make_launcher("x", program, ["--x"], f"{place}/wrapper-of-{name}", str(pins), "")
    path = place / script.file
    path.write_bytes(script.text)
    path.chmod(SCRIPT_MODE)
    return path


@pytest.mark.parametrize("damage", ["missing", "a file", "full"])
def test_a_container_starts_where_no_pin_can_be_recorded(node: Node, damage: str) -> None:
    old, new = node.launcher("old", "--x"), node.launcher("new")
    if damage != "full":
        node.pins.rmdir()
    if damage == "a file":
        node.pins.touch()
    for verb in ("create", "run", "restore"):
        call = node.call(old, "--root", node.root, verb, "c1", full=damage == "full")
        assert (call.program, call.error, call.status) == ("old", b"", 0)
    if damage != "a file":
        assert node.executed(new, "--root", node.root, "kill", "c1") == "new"


def test_what_later_calls_find_is_executed_where_a_new_pin_cannot_be_recorded(node: Node) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    node.pin(old, "c1")
    call = node.call(new, "--root", node.root, "create", "c1", full=True)
    assert (call.program, call.error) == ("old", b"")
    assert node.executed(new, "--root", node.root, "kill", "c1") == "old"


@pytest.mark.parametrize("container", ["c1", "a:b"])
def test_a_pin_that_cannot_be_read_fails_calls_of_its_container(node: Node, container: str) -> None:
    new = node.launcher("new")
    file = node.pins / (container if container == "c1" else ".other")
    file.mkdir()
    for words in (("kill", container, "9"), ("delete", "--force", container), ("exec", container, "sh")):
        call = node.call(new, "--root", node.root, *words)
        assert call.status == 125
        assert call.error.startswith(b"runtimed: ")
        assert os.fsencode(file) in call.error
        assert call.program == ""
    assert node.executed(new, "--root", node.root, "create", container) == "new"
    assert node.executed(new, "--root", node.root, "kill", "c2") == "new"


@pytest.mark.parametrize("replace", [Path.touch, lambda pins: pins.symlink_to("nowhere")], ids=["file", "link"])
def test_a_directory_of_pins_that_was_replaced_fails_calls_of_containers(
    node: Node, replace: Callable[[Path], None]
) -> None:
    new = node.launcher("new")
    node.pins.rmdir()
    # Without a directory there are no pins.
    assert node.executed(new, "kill", "c1") == "new"
    replace(node.pins)
    call = node.call(new, "kill", "c1")
    assert (call.program, call.status) == ("", 125)
    assert os.fsencode(node.pins) in call.error
    assert node.executed(new, "create", "c1") == "new"
    assert node.executed(new, "features") == "new"


def test_a_file_of_pins_that_would_block_is_not_opened(node: Node) -> None:
    new = node.launcher("new")
    os.mkfifo(node.pins / "c1")
    assert node.call(new, "kill", "c1").status == 125
    assert node.executed(new, "create", "c1") == "new"


def test_a_target_that_is_gone_fails_the_call(node: Node) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    node.pin(old, "c1")
    Path(old.target).unlink()
    call = node.call(new, "--root", node.root, "delete", "--force", "c1")
    assert (call.program, call.status) == ("", 127)
    assert old.target.encode() in call.error


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1\t=gvisor\t={root}\t=c1\t={root}\t=\t{new}",
        "1\t=gvisor\t={root}\t=c1\t={root}\t=\t{new}\t",
        "1\t=gvisor\t={root}\t=c1\t={root}\t=\t{new}\t.\n"[:-1],
        "2\t=gvisor\t={root}\t=c1\t={root}\t=\t{new}\t.\n",
        "1\t=gvisor\t={root}\t=c2\t={root}\t=\t{new}\t.\n",
        "1\t=gvisor\t={root}\t=c1\t={root}\t=\t{new}\t.\t.\n",
        "1\t=gvisor\t={root}\t=c1\t=\t{new}\t.\n",
        "garbage \\ $x `y`\n\n\0\n",
    ],
)
def test_an_incomplete_line_does_not_count(node: Node, line: str) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    node.pin(old, "c1")
    with (node.pins / "c1").open("a") as file:
        file.write(line.format(root=node.root, new=new.target))
    assert node.executed(new, "--root", node.root, "kill", "c1") == "old"
    # The next pin is not spoilt by it.
    assert node.executed(new, "--root", node.root, "create", "c1") == "new"
    assert node.executed(old, "--root", node.root, "kill", "c1") == "new"
    assert node.pinned("c1")[-1].target == new.target


@pytest.mark.parametrize("field", ["root", "id", "bundle", "target", "runtime's root"])
@pytest.mark.parametrize("byte", ["\t", "\n"])
def test_a_field_with_a_tab_or_line_feed_makes_no_pin(node: Node, field: str, byte: str) -> None:
    values = {name: f"/{byte}x" if name == field else "/x" for name in ("root", "bundle")}
    args = ["--root", f"/{byte}"] if field == "runtime's root" else []
    old = node.launcher(f"o{byte}d" if field == "target" else "old", *args)
    engine = [] if args else ["--root", values["root"]]
    container = f"c{byte}1" if field == "id" else "c1"
    call = node.call(old, *engine, "create", "-b", values["bundle"], container)
    assert call.error == b""
    assert not list(node.pins.iterdir())
    # A call of it executes the current definition.
    assert node.call(node.launcher("new"), *engine, "kill", container).program == "new"


def test_a_pin_is_appended_by_one_write(node: Node) -> None:
    old = node.launcher("old")
    threads = [
        threading.Thread(target=node.call, args=(old, "--root", f"/{n}", "create", "-b", "/b" * 100, ":" * 99))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {pin.root for pin in node.pinned(":")} == {f"/{n}" for n in range(20)}


@pytest.mark.parametrize("container", ["a" * 200, "a" * 201, "x" * 1024, "a:b", "é", "..", ".", "a/b", "-x", " ", "*"])
def test_an_id_of_any_form_has_a_pin(node: Node, container: str) -> None:
    old, new = node.launcher("old"), node.launcher("new")
    node.pin(new, "a:c")
    node.executed(old, "--root", node.root, "create", "--", container)
    assert [pin.target for pin in node.pinned(container) if pin.id == container] == [old.target]
    assert node.executed(new, "--root", node.root, "kill", "--", container, "9") == "old"
    assert node.executed(old, "--root", node.root, "kill", "a:c", "9") == "new"


# Programs.


def test_a_bare_program_is_searched_for_at_each_call(node: Node) -> None:
    places = [node.place / name for name in ("a b", "second", "third")]
    for place in places:
        place.mkdir()
    search = ":".join(("", "relative", *map(str, places)))
    bare, new = node.launcher("crun", search=search, bare=True), node.launcher("new")
    (places[0] / "crun").mkdir()
    (places[1] / "crun").write_text("not executable")
    shutil.copy(node.program("crun"), places[2] / "crun")
    call = node.call(bare, "--root", node.root, "create", "c1", env={"PATH": "/nonexistent"})
    assert (call.program, call.error) == ("crun", b"")
    assert [pin.target for pin in node.pinned("c1")] == [f"{places[2]}/crun"]
    shutil.copy(node.program("crun"), places[0] / "crun.new")
    (places[0] / "crun").rmdir()
    (places[0] / "crun.new").rename(places[0] / "crun")
    node.executed(bare, "--root", node.root, "create", "c2")
    assert [pin.target for pin in node.pinned("c2")] == [f"{places[0]}/crun"]
    assert node.executed(new, "--root", node.root, "kill", "c1") == "crun"


def test_a_bare_program_with_arguments_pins_its_wrapper(node: Node) -> None:
    bare = node.launcher("crun", "--x", search=str(node.place), bare=True)
    node.program("crun")
    assert node.executed(bare, "create", "c1") == "crun"
    assert [pin.target for pin in node.pinned("c1")] == [bare.target]
    assert "wrapper" not in bare.target
    assert bare.target.startswith("/")


def test_a_bare_program_that_is_not_found_is_left_to_the_shell(node: Node) -> None:
    bare = node.launcher("no-such-crun", search="/nonexistent", bare=True)
    call = node.call(bare, "create", "c1")
    assert call.status == 127
    assert b"no-such-crun" in call.error
    assert not list(node.pins.iterdir())
    node.program("no-such-crun")
    assert node.call(bare, "create", "c1", env={"PATH": str(node.place)}).program == "no-such-crun"


def test_a_program_may_begin_with_a_dash(node: Node) -> None:
    node.program("-p")
    launcher = make_launcher("w", "-p", ["x"], "/w", str(node.pins), "")
    path = node.place / launcher.file
    path.write_bytes(launcher.text)
    result = subprocess.run([*node.shell, path, "y"], check=True, capture_output=True, timeout=60, cwd=node.place)
    assert result.stdout == b"-p\0x\0y\0"


# The process.


def test_the_environment_of_the_program_is_that_of_the_caller(node: Node) -> None:
    old, new = node.launcher("old", "--x"), node.launcher("new")
    for name in ("old", "new"):
        Path(node.program(name)).write_text(f'#!/bin/sh\nprintf "%s\\0" {name}\ncat "/proc/$$/environ"\n')
    node.pin(old, "c1", root="")
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/h", "A": "x\ny ", "XDG_RUNTIME_DIR": "/x", "IFS_": "\t"}
    for words, program in (((), "new"), (("create", "c2"), "new"), (("kill", "c1"), "old"), (("kill", "c2"), "new")):
        call = node.call(new, *words, env=env)
        assert (call.program, call.error) == (program, b"")
        found = dict(item.decode().split("=", 1) for item in call.args)
        assert {name: found.pop(name, None) for name in env} == env
        # The shells add these themselves: runtimed(8) tells.
        assert set(found) <= {"PWD", "OLDPWD", "SHLVL", "_"}


def test_paths_need_not_be_text(node: Node) -> None:
    pins = node.place / "p\udcff"
    pins.mkdir()
    launcher = make_launcher("w", node.program("a\udcffb"), [], "/w\udcff", str(pins), "")
    path = node.place / launcher.file
    path.write_bytes(launcher.text)
    assert (
        subprocess.run([*node.shell, path, "create", "c1"], check=True, capture_output=True, timeout=60).stderr == b""
    )
    assert [pin.target for pin in read_pins((pins / "c1").read_bytes())] == ["/w\udcff"]


def test_the_launcher_becomes_the_program(node: Node) -> None:
    launcher = make_launcher("sh", "/bin/sh", ["-c", "echo $$; exit 7"], "/w", str(node.pins), "")
    path = node.place / launcher.file
    path.write_bytes(launcher.text)
    with subprocess.Popen([*node.shell, path, "--root", "/r", "create", "c1"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        assert process.wait(60) == 7


def test_a_launcher_is_named_by_its_content() -> None:
    one = make_launcher("a", "/x", ["y"], "/w", "/pins", "/usr/bin")
    assert one == make_launcher("a", "/x", ["y"], "/w", "/pins", "/usr/bin")
    assert one.link == "a"
    assert is_script_file(one.file)
    assert is_intact(one.file, one.text)
    others = [("b", "/x", ["y"], "/w", "/pins"), ("a", "/z", ["y"], "/w", "/pins"), ("a", "/x", [], "/w", "/pins")]
    others += [("a", "/x", ["y"], "/v", "/pins"), ("a", "/x", ["y"], "/w", "/pins2")]
    assert len({one.file, *(make_launcher(*other, "/usr/bin").file for other in others)}) == 6


def test_a_launcher_searches_only_the_absolute_directories_of_a_path() -> None:
    text = make_launcher("x", "x", (), "x", "/pins", "bin::/usr/bin:.").text.decode()
    assert "for _rd_program in /usr/bin/x x; do" in text.splitlines()


def test_a_launcher_looks_below_the_same_usual_roots_as_the_daemon() -> None:
    text = make_launcher("x", "/x", (), "/x", "/pins", "").text.decode()
    assert [root for root in usual_roots(None) if root not in text.split()] == []
    assert [root for root in usual_roots("$_rd_d") if root.startswith("$") and f'"{root}"' not in text] == []
