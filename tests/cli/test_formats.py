"""Tests of ``runtimectl resolve --format``."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import RunningDaemon, new_daemon, put_executable
from harness.runtimectl import COMMAND, runtimectl
from harness.shell_names import KATA_SHIM

from runtimed.cli.formats import FormatUnavailable, render_any, render_ctr, render_nerdctl, render_path
from runtimed.core.containerd.options import decode_options

RUNC_SHIM = "io.containerd.runc.v2"
RUNC = "containerd.runc.v1.Options"
GENERIC = "runtimeoptions.v1.Options"
LONG = "l" * 120  # its wrapper's name has a "~" in it
# "{root}" is the daemon's directory.
TABLE = {
    "plain": {"path": "/bin/sh"},
    LONG: {"path": "/bin/sh", "runtimeArgs": ["-e", "two words", "*"]},
    "a b*$(x)\n": {"path": "/bin/sh", "runtimeArgs": ["-e"]},
    "blank": {"path": "{root}/a b"},
    "glob": {"path": "{root}/*"},
    "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/kata.toml"}},
    "body": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/a", "ConfigBody": "b"}},
    "systemd": {"runtimeType": RUNC_SHIM, "options": {"SystemdCgroup": True, "BinaryName": "crun"}},
    "absolute": {"runtimeType": "{root}/containerd-shim-x-v2"},
    "defaults": {"runtimeType": RUNC_SHIM, "options": {"SystemdCgroup": False}},
}


@pytest.fixture(scope="module")
def formats() -> Iterator[RunningDaemon]:
    with new_daemon() as made:
        made.install("containerd-shim-runc-v2", KATA_SHIM, "crun")
        for name in ("a b", "*", "containerd-shim-x-v2"):
            put_executable(made.root / name)
        document = json.dumps({"default-runtime": "plain", "runtimes": TABLE})
        made.write(document.replace("{root}", str(made.root)))
        yield made.start()


def resolution(shim: str, message: str | None = None, /, **fields: object) -> dict[str, Any]:
    options = None if message is None else {"type_url": message, "value": "", "fields": fields}
    return {"runtime": "r", "source": "configured", "shim": shim, "options": options, "generation": 1, "digest": "d"}


# ctr


def test_ctr_gets_a_flag_for_every_option_that_is_set(formats: RunningDaemon) -> None:
    root = f"{formats.root}/run/runtime-runc"
    wanted = {
        "plain": f"--runtime {RUNC_SHIM} --runc-binary /bin/sh --runc-root {root}",
        LONG: f"--runtime {RUNC_SHIM} --runc-binary "
        f"{formats.resolve(LONG)['options']['fields']['binary_name']} --runc-root {root}",
        "kata": "--runtime io.containerd.kata.v2 --runtime-config-path /etc/kata.toml",
        "absolute": f"--runtime {formats.root}/containerd-shim-x-v2",
        "defaults": f"--runtime {RUNC_SHIM}",
        "io.containerd.implicit.v2": "--runtime io.containerd.implicit.v2",
    }
    for name, words in wanted.items():
        run = runtimectl("resolve", name, "--format", "ctr", on=formats)
        assert (run.returncode, run.stderr, run.stdout) == (0, "", f"{words}\n"), name


def test_ctr_gets_another_control_group_every_time_with_systemds_driver(formats: RunningDaemon) -> None:
    # ctr requires one with this flag, and systemd refuses a second scope of the same name.
    lines = set()
    for _ in range(2):
        run = runtimectl("resolve", "systemd", "--format", "ctr", on=formats)
        assert (run.returncode, run.stderr) == (0, "")
        words = run.stdout.split()
        assert words[:-1] == ["--runtime", RUNC_SHIM, "--runc-binary", "crun", "--runc-systemd-cgroup", "--cgroup"]
        assert re.fullmatch("machine.slice:runtimed:[0-9a-f]{16}", words[-1])
        lines.add(run.stdout)
    assert len(lines) == 2


def test_a_shell_splits_the_words_of_ctr_correctly_and_expands_none(formats: RunningDaemon, tmp_path: Path) -> None:
    # Names that a pattern would match: all of one letter, and some like the words themselves.
    for name in ("a", "b", "--runtime", "opt", "sh"):
        (tmp_path / name).touch()
    fields = formats.resolve(LONG)["options"]["fields"]
    words = ["--runtime", RUNC_SHIM, "--runc-binary", fields["binary_name"], "--runc-root", fields["root"]]
    assert "~" in fields["binary_name"]
    program = f"{' '.join(COMMAND)} --socket {formats.socket}"
    for shell in ("sh", "bash"):
        command = f"printf '%s\\n' $({program} resolve {LONG} --format ctr)"
        run = subprocess.run([shell, "-c", command], check=False, cwd=tmp_path, capture_output=True, text=True)
        assert (run.stdout.splitlines(), run.stderr) == (words, "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("blank", "the binary_name '{root}/a b' holds ' '"),
        ("glob", "the binary_name '{root}/*' holds '*'"),
        ("body", "no flag for config_body"),
    ],
)
def test_a_word_that_a_shell_would_change_is_refused(formats: RunningDaemon, name: str, text: str) -> None:
    run = runtimectl("resolve", name, "--format", "ctr", on=formats)
    assert (run.returncode, run.stdout) == (1, "")
    error, hint = run.stderr.splitlines()
    assert error.startswith("runtimectl: ")
    assert text.replace("{root}", str(formats.root)) in error
    assert error.endswith(f" (socket {formats.socket})")
    assert "--format any" in hint


def test_a_hostile_name_appears_as_the_plain_name_of_its_wrapper(formats: RunningDaemon) -> None:
    run = runtimectl("resolve", "a b*$(x)\n", "--format", "ctr", on=formats)
    assert (run.returncode, len(run.stdout.split())) == (0, 6)
    assert "/wrappers/a%20b%2a%24%28x%29%0a-" in run.stdout


HOSTILE = (
    *("a b", "a\tb", "a\nb", "a\x1b[31m", "a\x00", "a\u00a0b", "a\u2028b", "a\u202eb", "\udcff"),
    *("*", "a?", "[ab]", "a]", "~", "~root/x", "$(x)", "`x`", "$HOME", "{a,b}", "(a)", "^a", "!a", "#a"),
    *("a;b", "a&", "a|b", "<a", "a>", "'a'", '"a"', "a\\b", "-x", "--rm"),
)


@pytest.mark.parametrize("text", HOSTILE)
def test_words_that_a_shell_or_ctr_would_interpret_are_refused(text: str) -> None:
    hostile = [
        resolution(text),
        resolution(RUNC_SHIM, RUNC, binary_name=text),
        resolution(RUNC_SHIM, RUNC, binary_name="/bin/sh", root=text),
        resolution("io.containerd.kata.v2", GENERIC, config_path=text),
    ]
    for answer in hostile:
        for render in (render_ctr, render_nerdctl):
            # nerdctl gets no root, and a root that is not runtimed's own is refused.
            with pytest.raises(FormatUnavailable):
                render(answer)


def test_an_empty_shim_is_no_word() -> None:
    with pytest.raises(FormatUnavailable, match="empty"):
        render_ctr(resolution(""))


@pytest.mark.parametrize(
    ("shim", "type_url", "fields", "named"),
    [
        (RUNC_SHIM, RUNC, {"no_pivot_root": True}, "no_pivot_root"),
        (RUNC_SHIM, RUNC, {"binary_name": "/a", "io_uid": 1, "shim_cgroup": "/x"}, "io_uid, shim_cgroup"),
        ("io.containerd.kata.v2", GENERIC, {"type_url": "t", "config_path": "/a"}, "type_url"),
        ("io.containerd.kata.v2", GENERIC, {"config_body": {"base64": "/w=="}}, "config_body"),
        # ctr refuses the one, and drops the other without a word.
        ("io.containerd.runc.v1", RUNC, {"binary_name": "/a"}, "binary_name"),
        ("io.containerd.runc.v1", RUNC, {"root": "/a"}, "root"),
        (RUNC_SHIM, GENERIC, {"config_path": "/a"}, "config_path"),
        (RUNC_SHIM, "of.the.Future", {"root": "/a"}, "root"),
    ],
)
def test_a_field_that_ctr_has_no_flag_for_is_named(
    shim: str, type_url: str, fields: dict[str, object], named: str
) -> None:
    with pytest.raises(FormatUnavailable, match=f"no flag for {named} with"):
        render_ctr(resolution(shim, type_url, **fields))


def test_a_field_with_its_default_value_needs_no_flag() -> None:
    defaults = {"no_pivot_root": False, "io_uid": 0, "root": "", "systemd_cgroup": False}
    assert render_ctr(resolution(RUNC_SHIM, RUNC, **defaults)) == f"--runtime {RUNC_SHIM}"


def test_letters_of_any_script_are_written_in_utf8_whatever_the_locale_is(own_daemon: RunningDaemon) -> None:
    path = str(put_executable(own_daemon.root / "\N{LATIN SMALL LETTER E WITH ACUTE}" / "r"))
    own_daemon.write({"runtimes": {"plain": {"path": path}}})
    own_daemon.reload()
    command = [*COMMAND, "--socket", str(own_daemon.socket), "resolve", "plain", "--format", "ctr"]
    environ = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(Path.cwd())}
    run = subprocess.run(command, check=True, capture_output=True, env=environ)
    assert path.encode() in run.stdout


# nerdctl


def test_nerdctl_gets_the_binary_or_the_shim_and_the_cgroup_driver(formats: RunningDaemon) -> None:
    wanted = {
        "plain": "--runtime /bin/sh --cgroup-manager cgroupfs",
        LONG: f"--runtime {formats.resolve(LONG)['options']['fields']['binary_name']} --cgroup-manager cgroupfs",
        "systemd": "--runtime crun --cgroup-manager systemd",
        "defaults": f"--runtime {RUNC_SHIM} --cgroup-manager cgroupfs",
        "runc": "--runtime runc --cgroup-manager cgroupfs",
        "io.containerd.implicit.v2": "--runtime io.containerd.implicit.v2",
    }
    for name, words in wanted.items():
        run = runtimectl("resolve", name, "--format", "nerdctl", on=formats)
        assert (run.returncode, run.stderr, run.stdout) == (0, "", f"{words}\n"), name


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (resolution("io.containerd.kata.v2", GENERIC, config_path="/k"), "no flag for config_path with"),
        (resolution(RUNC_SHIM, RUNC, root="/elsewhere"), "no flag for root with"),
        (resolution(RUNC_SHIM, RUNC, no_pivot_root=True, binary_name="/a"), "no flag for no_pivot_root with"),
        (resolution("io.containerd.runc.v1", RUNC, binary_name="/a"), "no flag for binary_name with"),
        (resolution("/opt/containerd-shim-x-v2"), "would take the shim"),
        (resolution("com.example.x.v2"), "would take the shim"),
        (resolution(""), "would take the shim"),
        (resolution(RUNC_SHIM, RUNC, binary_name="io.containerd.x.v2"), "would take the binary_name"),
        (resolution(RUNC_SHIM, RUNC, binary_name="/a b"), "holds ' '"),
    ],
)
def test_a_runtime_that_nerdctl_would_run_in_another_way_is_refused(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatUnavailable, match=reason):
        render_nerdctl(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (resolution(RUNC_SHIM), f"--runtime {RUNC_SHIM} --cgroup-manager cgroupfs"),
        (
            resolution("io.containerd.runc.v1", RUNC, systemd_cgroup=True),
            "--runtime io.containerd.runc.v1 --cgroup-manager systemd",
        ),
        (resolution("io.containerd.kata.v2", GENERIC, config_path=""), "--runtime io.containerd.kata.v2"),
    ],
)
def test_a_field_with_its_default_value_needs_no_flag_of_nerdctl(answer: dict[str, Any], words: str) -> None:
    assert render_nerdctl(answer) == words


# any and path


def test_any_is_the_type_and_the_bytes_of_the_response(formats: RunningDaemon) -> None:
    for name in ("plain", LONG, "kata", "body", "blank"):
        run = runtimectl("resolve", name, "--format", "any", on=formats)
        assert (run.returncode, run.stderr) == (0, "")
        type_url, value = run.stdout.split()
        options = formats.resolve(name)["options"]
        assert (type_url, value) == (options["type_url"], options["value"])
        decoded = decode_options(type_url, base64.b64decode(value)).readable()
        assert decoded == {field: value for field, value in options["fields"].items() if value}


def test_any_of_defaults_is_the_type_alone_and_no_options_are_refused(formats: RunningDaemon) -> None:
    assert runtimectl("resolve", "defaults", "--format", "any", on=formats).stdout == f"{RUNC}\n"
    run = runtimectl("resolve", "absolute", "--format", "any", on=formats)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("runtimectl: absolute has no options")
    with pytest.raises(FormatUnavailable):
        render_any(resolution(RUNC_SHIM))


@pytest.mark.parametrize("name", ["plain", "blank", "glob"])
def test_path_is_the_stable_path_of_a_runtime_with_a_path(formats: RunningDaemon, name: str) -> None:
    run = runtimectl("resolve", name, "--format", "path", on=formats)
    assert (run.returncode, run.stderr, run.stdout) == (0, "", f"{formats.data}/runtimes/{name}\n")
    if name == "plain":
        assert runtimectl("resolve", "--format", "path", on=formats).stdout == run.stdout, "of the default runtime"


@pytest.mark.parametrize(
    ("name", "shim"),
    [
        ("kata", "io.containerd.kata.v2"),
        ("defaults", RUNC_SHIM),
        ("runc", RUNC_SHIM),
        ("io.containerd.implicit.v2", "io.containerd.implicit.v2"),
    ],
)
def test_path_is_refused_for_a_runtime_without_a_path(formats: RunningDaemon, name: str, shim: str) -> None:
    run = runtimectl("resolve", name, "--format", "path", on=formats)
    assert (run.returncode, run.stdout) == (1, "")
    error, hint = run.stderr.splitlines()
    assert error.startswith(f"runtimectl: {name} has no stable path")
    assert shim in error
    assert hint == f"hint: an engine is given the shim; runtimectl explain {name} shows it"


@pytest.mark.parametrize("path", ["/a\nb", "/a\x1b[31m", "/a\udcff"])
def test_a_path_that_is_not_printable_is_refused(path: str) -> None:
    with pytest.raises(FormatUnavailable):
        render_path({"name": "r", "shim": RUNC_SHIM, "stable_path": path})


def test_a_stable_path_belongs_to_no_generation(formats: RunningDaemon) -> None:
    run = runtimectl("resolve", "plain", "--generation", "1", "--format", "path", on=formats)
    assert (run.returncode, run.stdout) == (2, "")
    assert "--format path takes no --generation" in run.stderr


# The flag itself


def test_json_is_one_of_the_formats_and_contradicts_the_others(formats: RunningDaemon) -> None:
    asked = (("--format", "json"), ("--json",), ("--json", "--format", "json"))
    assert len({runtimectl("resolve", "kata", *flags, on=formats).stdout for flags in asked}) == 1
    for flags in (("--json", "--format", "ctr"), ("--format", "yaml")):
        run = runtimectl("resolve", "kata", *flags, on=formats)
        assert (run.returncode, run.stdout) == (2, "")


@pytest.mark.parametrize("form", ["ctr", "nerdctl", "any", "path", "json"])
def test_an_unknown_name_is_refused_in_every_format(formats: RunningDaemon, form: str) -> None:
    run = runtimectl("resolve", "plian", "--format", form, on=formats)
    assert run.returncode == 1
    assert run.stdout == "" or form == "json"
    assert "did you mean plain?" in run.stderr
