"""Tests of runtimectl in a terminal: every verb, with success and with failure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import pytest
from harness.daemon import RunningDaemon, wait_until
from harness.runtimectl import COMMAND, runtimectl
from harness.screen import Screen

from runtimed.cli.render import render_runtimes
from runtimed.cli.tables import render_fields, render_table
from runtimed.cli.terminal import RED, Terminal, Tinted, inspect_terminal

RED_TEXT, GREEN_TEXT, YELLOW_TEXT = "\x1b[31m", "\x1b[32m", "\x1b[33m"
COLOUR = re.compile(r"\x1b\[[\d;]+m")


def environment(daemon: RunningDaemon | str, **more: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM", "COLUMNS")}
    socket = daemon if isinstance(daemon, str) else str(daemon.socket)
    return {**inherited, "RUNTIMED_SOCKET": socket, **more}


def look(*args: str, on: RunningDaemon | str = "/nowhere/s", columns: int = 200, **environ: str) -> tuple[int, str]:
    """Return the exit status of runtimectl in a terminal, and its output."""
    with Screen([*COMMAND, *args], environment(on, **environ), columns) as screen:
        return screen.end()


def plain(text: str) -> str:
    return COLOUR.sub("", text)


GOOD = [
    (("resolve", "wrapped"), "runtime           wrapped\n"),
    (("list",), "NAME "),
    (("explain", "wrapped"), "runtime           wrapped\n"),
    (("status",), "health         ok\n"),
    (("plan",), "a reload would change nothing; generation 1 stays in use\n"),
    (("reload",), "already live: generation 1, since "),
    (("containers",), "no container has a pin"),
    (("generations",), "GENERATION  CREATED  "),
    (("diff", "1", "1"), "generations 1 and 1 do not differ\n"),
    (("gc", "--dry-run"), "VERDICT  WRAPPER"),
    (("version",), "runtimectl  "),
    (("--help",), "usage: runtimectl "),
]
BAD = [
    (("resolve", "wraped"), 1, "did you mean wrapped?", "runtimectl list"),
    (("resolve", "kata", "--format", "path"), 1, "kata", "runtimectl"),
    (("list", "--all"), 2, "unrecognized arguments: --all", "--help"),
    (("explain", "nope"), 1, "unknown or invalid runtime name: nope", "runtimectl list"),
    (("status", "--socket", "/nowhere/x"), 2, "/nowhere/x: there is no such socket", "systemctl start runtimed"),
    (("plan", "--exit-cod"), 2, "unrecognized arguments", "--help"),
    (("reload", "--socket", "/dev/null"), 2, "no answer from a daemon on /dev/null: no process listens", "start it"),
    (("watch", "--since", "x"), 2, "'x' is not a whole number", "runtimectl watch --help"),
    (("generations", "--socket", "/nowhere/x"), 2, "there is no such socket", "start it"),
    (("diff", "1", "9"), 1, "the newest is 1", "runtimectl generations"),
    (("gc", "--socket", "/" + "x" * 200), 2, "too long", "RUNTIMED_SOCKET"),
    (("lsit",), 2, "did you mean list?", "runtimectl --help"),
]


@pytest.mark.parametrize(("args", "text"), GOOD)
def test_a_good_case_is_shown_in_a_terminal(daemon: RunningDaemon, args: Sequence[str], text: str) -> None:
    status, shown = look(*args, on=daemon)
    assert (status, plain(shown)[: len(text)]) == (0, text)


@pytest.mark.parametrize(("args", "status", "text", "hint"), BAD)
def test_a_bad_case_is_a_line_and_a_hint_in_a_terminal(
    daemon: RunningDaemon, args: Sequence[str], status: int, text: str, hint: str
) -> None:
    found, shown = look(*args, on=daemon)
    assert found == status
    first, second = plain(shown).splitlines()
    assert first.startswith("runtimectl: ")
    assert text in first
    assert second.startswith("hint: ")
    assert hint in second


def test_check_shows_places_in_a_terminal(daemon: RunningDaemon, own_daemon: RunningDaemon) -> None:
    status, shown = look("check", str(daemon.config), PATH=daemon.environ["PATH"])
    assert (status, shown) == (
        0,
        f"{daemon.config}: OK (7 of 8 available; gone: /nowhere/gone: no such file)\n",
    )
    status, shown = look("check", str(own_daemon.config))
    assert (status, shown) == (0, f"{own_daemon.config}: OK (3 runtimes)\n")
    status, shown = look("check", "/nowhere/daemon.json")
    assert (status, "/nowhere/daemon.json" in shown) == (1, True)


# Colours


def test_faults_are_red_in_a_terminal_and_colourless_elsewhere(daemon: RunningDaemon) -> None:
    assert f"{RED_TEXT}no: no such file\x1b[0m" in look("list", on=daemon)[1]
    assert f"{GREEN_TEXT}ok\x1b[0m" in look("status", on=daemon)[1]
    assert f"{RED_TEXT}no: " in look("explain", "gone", on=daemon, NO_COLOR="")[1]
    # Without colours.
    assert "\x1b" not in look("list", on=daemon, NO_COLOR="1")[1]
    assert "\x1b" not in look("list", on=daemon, TERM="dumb")[1]
    assert "\x1b" not in look("list", "--json", on=daemon)[1]
    assert "\x1b" not in runtimectl("list", on=daemon, environ={"TERM": "xterm"}).stdout


def test_a_diff_is_green_red_and_yellow(twice: RunningDaemon) -> None:
    shown = look("diff", "1", "2", on=twice)[1]
    assert f"{GREEN_TEXT}+ comes\x1b[0m\n" in shown
    assert f"{RED_TEXT}- goes\x1b[0m\n" in shown
    assert f"{YELLOW_TEXT}~ kata\x1b[0m\n" in shown
    # A name cannot bring colours of its own.
    assert f"{YELLOW_TEXT}~ bro\\x1b[31mken\\n\x1b[0m\n" in shown
    assert plain(shown) == runtimectl("diff", "1", "2", on=twice).stdout


def test_a_rejection_is_red_in_status_and_watch(own_daemon: RunningDaemon) -> None:
    own_daemon.write("[]")
    own_daemon.reload()
    shown = look("status", on=own_daemon)[1]
    assert f"health           {RED_TEXT}degraded\x1b[0m\n" in shown
    assert f"last reload      {RED_TEXT}rejected, " in shown
    with Screen([*COMMAND, "watch", "--since", "0"], environment(own_daemon)) as screen:
        assert re.search(r"\x1b\[31m[\d: -]+  health      degraded: ", screen.until("health      degraded: "))


def test_a_file_and_a_terminal_of_unknown_width_are_plain_and_80_columns_wide_unless_columns_says_otherwise() -> None:
    with open("/dev/null") as stream:
        for columns, width in (("", 80), ("x", 80), ("100", 100), ("0", None)):
            assert inspect_terminal(stream, {"COLUMNS": columns}).columns == width
        assert inspect_terminal(stream, {"TERM": "xterm"}).paint("x", RED) == "x"
    status, shown = look("--version", columns=0)
    assert (status, shown.startswith("runtimectl ")) == (0, True)


# Widths


def test_a_table_is_cut_to_the_terminal_except_for_names(daemon: RunningDaemon) -> None:
    whole = plain(look("list", on=daemon, columns=300)[1]).splitlines()
    narrow = plain(look("list", on=daemon, columns=80)[1]).splitlines()
    rows = [line for line in narrow if not line.startswith(" ")]
    assert [line.split("  ")[0] for line in rows] == [line.split("  ")[0] for line in whole]
    assert max(map(len, rows)) <= 80
    assert any("..." in row for row in rows)
    assert whole == runtimectl("list", on=daemon).stdout.splitlines()


def test_at_80_columns_an_origin_ends_with_its_line_and_a_reason_is_whole() -> None:
    def runtime(name: str, line: int, path: str, reason: str | None) -> dict[str, Any]:
        origin = {"file": "/root/runtimed/etc/runtimed/daemon.json", "line": line}
        return {
            "name": name, "default": name == "crun", "shim": "io.containerd.runc.v2", "definition": {"path": path},
            "available": reason is None, "reason": reason, "drift": None, "origin": origin, "source": "configured",
            "replaceable": None, "binary": None, "shim_binary": {"path": "/usr/bin/shim"},
            "proof": {"outcome": None},
        }  # fmt: skip

    reason = "containerd-shim-kata-v2: executable file not found in PATH"
    table = {
        "runtimes": [
            runtime("crun", 4, "/usr/bin/crun", None),
            runtime("io.containerd.runc.v2", 11, "io.containerd.kata.v2", reason),
        ]
    }
    header, crun, kata, why = render_runtimes(table, Terminal(80))
    assert max(map(len, (header, crun, kata))) <= 80
    assert crun.split()[-2:] == ["yes", crun[header.index("ORIGIN") :]]
    assert re.search(r"  \.\.\.[a-z/]*/daemon\.json:4$", crun)
    assert re.search(r" no  +\.\.\.[a-z/]*/daemon\.json:11$", kata)
    assert why.strip() == reason
    wide = render_runtimes(table, Terminal(300))
    assert len(wide) == 3
    assert f"no: {reason}" in wide[2]


def test_a_value_wraps_at_blanks_and_a_script_does_not() -> None:
    fields = [
        ("name", "one two  three"),
        ("", Tinted("one two three", RED)),
        ("s", Tinted("one two three", None, wraps=False)),
    ]
    assert render_fields(fields, Terminal(14)) == [
        "name  one two",
        "      three",
        "      one two",
        "      three",
        "s     one two three",
    ]
    assert render_fields([("name", "/a/path/that/is/long")], Terminal(14)) == ["name  /a/path/that/is/long"]
    assert render_fields([("name", "a b")], Terminal(2)) == ["name  a", "      b"]


@pytest.mark.parametrize("verb", [("list",), ("status",), ("explain", "kata"), ("generations",), ("gc", "--dry-run")])
def test_output_fits_80_columns_except_for_single_words(daemon: RunningDaemon, verb: Sequence[str]) -> None:
    for environ in ({"COLUMNS": "80"}, {"COLUMNS": ""}):
        lines = runtimectl(*verb, on=daemon, environ=environ).stdout.splitlines()
        assert [line for line in lines if len(line) > 80 and len(line.split()) > 2] == []


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        # Wide enough for all, just so.
        (34, ["A           B", "name  /etc/runtimed/daemon.json:14"]),
        (30, ["A     B", "name  /etc/runti...mon.json:14"]),
        # A column that would be too narrow is not cut, and the line wraps.
        (17, ["A     B", "name  /etc/runtimed/daemon.json:14"]),
    ],
)
def test_the_widest_column_is_cut_in_its_middle(columns: int, lines: list[str]) -> None:
    shown = render_table(("A", "B"), [("name", "/etc/runtimed/daemon.json:14")], Terminal(columns))
    assert [line.split() for line in shown] == [line.split() for line in lines]


def test_wide_characters_are_cut_by_the_columns_they_take() -> None:
    shown = render_table(("A", "B"), [("n", "\u5bb9" * 20)], Terminal(24))
    assert shown[1] == f"n  {chr(0x5BB9) * 4}...{chr(0x5BB9) * 4}"


def test_colours_take_no_columns() -> None:
    terminal = Terminal(colours=True)
    table = render_table(("A", "B"), [(Tinted("x", RED), 1), ("long", 2)], terminal)
    assert [plain(line) for line in table] == ["A     B", "x     1", "long  2"]
    assert render_fields([("a", Tinted("", RED)), ("b", Tinted("\x1b", RED))], terminal)[1] == "b  \x1b[31m\\x1b\x1b[0m"


# Keys


def test_ctrl_c_ends_watching_quietly(own_daemon: RunningDaemon) -> None:
    # No subscriber of an earlier test counts.
    with Screen([*COMMAND, "watch"], environment(own_daemon)) as screen:
        wait_until(lambda: own_daemon.status()["events"]["subscribers"] == 1, "it to watch")
        screen.type("\x03")
        status, shown = screen.end()
    assert (status, plain(shown)) == (130, "^C")


def test_a_pager_that_ends_early_is_no_error(daemon: RunningDaemon) -> None:
    command = f"{' '.join(COMMAND)} list | head -1"
    with Screen(["bash", "-c", f"set -o pipefail; {command}; true"], environment(daemon)) as screen:
        status, shown = screen.end()
    assert (status, len(shown.splitlines())) == (0, 1)
