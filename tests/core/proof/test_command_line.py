"""Tests of the choice of an engine, and of the command line that a direct test uses."""

from __future__ import annotations

from typing import Any

import pytest

from runtimed.core import errors
from runtimed.core.proof.command_line import CommandLine, choose_engine, make_command_line, uses_systemd

ID = "runtimed-test-0123456789ab"
PATH = {"stable_path": "/d/runtimes/x", "shim": "io.containerd.runc.v2", "binary": "/r/x"}
STOCK = {"stable_path": None, "shim": "io.containerd.runc.v2", "binary": None}
KATA = {"stable_path": None, "shim": "io.containerd.kata.v2"}


def resolution(**fields: object) -> dict[str, Any]:
    return {"options": {"fields": fields} if fields else None}


def test_a_shim_that_is_not_runcs_is_tested_by_containerd() -> None:
    assert choose_engine(PATH, None) == choose_engine(STOCK, None) == choose_engine(PATH, "direct") == "direct"
    assert choose_engine(KATA, None) == choose_engine(PATH, "containerd") == "containerd"
    with pytest.raises(errors.TestFailed) as caught:
        choose_engine(KATA, "direct")
    assert caught.value.step == "resolve"
    assert "io.containerd.kata.v2" in caught.value.reason


@pytest.mark.parametrize(
    ("runtime", "fields", "expected"),
    [
        (
            PATH,
            {"root": "/r/", "binary_name": "/w/x-0", "systemd_cgroup": True},
            CommandLine(("/d/runtimes/x", "--root", f"/r/{ID}", "--systemd-cgroup"), (), f"/r/{ID}"),
        ),
        (
            STOCK,
            {"root": "/r", "binary_name": "runc", "no_pivot_root": True, "no_new_keyring": True},
            CommandLine(("runc", "--root", f"/r/{ID}"), ("--no-pivot", "--no-new-keyring"), f"/r/{ID}"),
        ),
        # The name alone: containerd would take its own directory.
        (STOCK, {}, CommandLine(("runc", "--root", f"/b/{ID}"), (), f"/b/{ID}")),
        (STOCK, {"binary_name": "/opt/x"}, CommandLine(("/opt/x", "--root", f"/b/{ID}"), (), f"/b/{ID}")),
    ],
)
def test_the_command_line_follows_the_options(
    runtime: dict[str, Any], fields: dict[str, Any], expected: CommandLine
) -> None:
    assert make_command_line(runtime, resolution(**fields), ID, "/b") == expected


def test_the_binary_that_the_daemon_has_found_is_tested_whatever_this_path_finds() -> None:
    found = {**STOCK, "binary": "/opt/bin/runc"}
    for fields, program in (
        ({}, "/opt/bin/runc"),
        ({"binary_name": "runc"}, "/opt/bin/runc"),
        ({"binary_name": "/r"}, "/r"),
    ):
        assert make_command_line(found, resolution(**fields), ID, "/b").words[0] == program


def test_the_options_decide_who_makes_the_cgroup() -> None:
    assert uses_systemd(resolution(systemd_cgroup=True))
    assert not uses_systemd(resolution(root="/r"))
    assert not uses_systemd(resolution())
