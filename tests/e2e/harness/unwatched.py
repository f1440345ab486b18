"""Changes that inotify does not report: on FUSE, at the limits of inotify, and beyond the length of its queue."""

from __future__ import annotations

import json
import mmap
import os
import time
from functools import partial
from pathlib import Path

from e2e.harness import edits
from e2e.harness.changing import (
    AFTERWARDS_S,
    ONE,
    ChangeCase,
    ConfigurationOnVolume,
    Step,
    dropin,
    fill,
    follow_case,
    follow_step,
    main_file,
    scene,
)
from e2e.harness.volumes import Fill, Volume, new_tmpfs, run
from harness.daemon import put

TWO, THREE = ONE | {"w": "/opt/two"}, ONE | {"w": "/opt/three"}
# The daemon retries after 30 s, and polls until then.
COMES_BACK_S = 120.0
LIMIT = "/proc/sys/user/max_inotify_{}"
PLENTY = 10_000
# A user namespace has separate limits. Root is root in it.
LIMITED = ("unshare", "--user", "--map-root-user", "sh", "-c", 'echo "$1" >"$0"; shift; exec "$@"')


def new_bindfs(point: Path, fill: Fill) -> Volume:
    """Return a FUSE file system that shows another directory."""
    behind = point.with_name(f"{point.name}.behind")
    behind.mkdir()
    fill(behind)
    point.mkdir()
    run("bindfs", behind, point)
    return Volume(point, ())


def write_behind(path: str, content: dict[str, object]) -> edits.Edit:
    return lambda it: (it.root / "fs.behind" / path).write_text(json.dumps(content))


see_what_others_change_on_fuse = partial(
    follow_case,
    new_bindfs,
    ChangeCase(
        [
            Step(write_behind("etc/daemon.json", main_file("two")), ("applied",), TWO),
            Step(
                write_behind("etc/daemon.json.d/30-c.json", dropin("c", "new")),
                ("applied",),
                TWO | {"new": "/opt/c"},
            ),
            Step(
                edits.write_in_place("etc/daemon.json", "three"),
                ("applied",),
                THREE | {"new": "/opt/c"},
            ),
        ],
        mode="polling",
    ),
)


def see_dropins_on_fuse() -> str:
    """Have only drop-ins on FUSE, through a link; then local ones, with which the daemon uses inotify again."""

    def fill_with_link(base: Path) -> None:
        fill(base)
        (base / "etc" / "daemon.json.d").rename(base / "local")
        (base / "etc" / "daemon.json.d").symlink_to("../fuse")
        new_bindfs(base / "fuse", lambda behind: put(behind / "20-b.json", dropin("b")))

    with scene(new_tmpfs, ChangeCase([], fill=fill_with_link)) as it:
        assert it.watcher()["mode"] == "polling"
        assert list(it.watcher()["faults"]) == [str(it.base / "fuse")]
        added = json.dumps(dropin("c", "new"))
        steps = (
            Step(
                lambda it: (it.base / "fuse.behind" / "30-c.json").write_text(added),
                ("applied",),
                ONE | {"new": "/opt/c"},
            ),
            Step(edits.write_in_place("etc/daemon.json", "two"), ("applied",), TWO | {"new": "/opt/c"}),
            Step(edits.switch_link("etc/daemon.json.d", "../local"), ("applied",), TWO),
        )
        seen = ", ".join(f"{follow_step(it, step):.1f} s" for step in steps)
        back_s = it.see(lambda: it.watcher()["mode"] == "inotify", "inotify again")
    return f"{seen}; inotify came back after {back_s:.1f} s"


def see_what_is_written_to_memory() -> str:
    """Write through a memory mapping of the file, which makes no event while the file is open."""
    with scene(new_tmpfs, ChangeCase([], by_clock=True)) as it:
        with it.main.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[:] = memory[:].replace(b"one", b"two")
            seen_s = it.see(lambda: it.table() == TWO, "the regular check", COMES_BACK_S)
        time.sleep(AFTERWARDS_S)
        assert it.reports()[1:] == ["applied"]
    return f"{seen_s:.0f} s"


def see_what_is_written_to_another_name() -> str:
    """Write through a hard link in a directory that is not watched."""

    def fill_with_hard_link(base: Path) -> None:
        fill(base)
        (base / "elsewhere").mkdir()
        os.link(base / "etc" / "daemon.json", base / "elsewhere" / "name")

    with scene(new_tmpfs, ChangeCase([], fill=fill_with_hard_link, by_clock=True)) as it:
        edits.write_in_place("elsewhere/name", "two")(it)
        seen_s = it.see(lambda: it.table() == TWO, "the regular check", COMES_BACK_S)
        time.sleep(AFTERWARDS_S)
        assert it.reports()[1:] == ["applied"]
    return f"{seen_s:.0f} s"


def lose_events(it: ConfigurationOnVolume) -> None:
    """Make more events than the kernel keeps while the daemon is stopped, and the change of the file last."""
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (it.etc / "a").touch()
    with it.daemon.paused():
        for _ in range(kept // 2):
            (it.etc / "a").rename(it.etc / "b")
            (it.etc / "b").rename(it.etc / "a")
        it.main.write_text(json.dumps(main_file("two")))


see_a_change_whose_event_is_lost = partial(
    follow_case,
    new_tmpfs,
    ChangeCase(
        [
            Step(lose_events, ("applied",), TWO),
            Step(edits.write_in_place("etc/daemon.json", "three"), ("applied",), THREE),
        ]
    ),
)


def do_without(limited: str, left: int) -> str:
    """Make changes while inotify has reached a limit, and again after the limit was raised."""
    case = ChangeCase([], command=[*LIMITED, LIMIT.format(limited), str(left)], mode="inotify")
    with scene(new_tmpfs, case) as it:
        watcher = it.watcher()
        assert (watcher["mode"], watcher["alive"]) == ("polling", True)
        assert watcher["faults"]
        assert all(f"no inotify {limited}" in reason for reason in watcher["faults"].values())
        polled_s = follow_step(it, Step(edits.write_in_place("etc/daemon.json", "two"), ("applied",), TWO))
        added = Step(edits.add_dropin, ("applied",), TWO | {"new": "/opt/c"})
        added_s = follow_step(it, added)
        assert it.watcher()["mode"] == "polling"
        limit(it, limited, PLENTY)
        back_s = it.see(lambda: it.watcher()["mode"] == "inotify", "inotify again", COMES_BACK_S)
        assert it.watcher()["faults"] == {}
        wrote = Step(edits.write_in_place("etc/daemon.json", "three"), ("applied",), THREE | {"new": "/opt/c"})
        seen_s = follow_step(it, wrote)
    return f"{polled_s:.1f} s, {added_s:.1f} s; inotify came back after {back_s:.0f} s; {seen_s:.1f} s"


def limit(it: ConfigurationOnVolume, limited: str, number: int) -> None:
    """Set a limit of inotify for a daemon that runs in a separate user namespace."""
    assert it.daemon.process is not None
    inside = ["nsenter", "--user", "--preserve-credentials", "--target", str(it.daemon.process.pid)]
    run(*inside, "sh", "-c", f"echo {number} >{LIMIT.format(limited)}")


def do_without_more_watches() -> str:
    """Let the watches run out while all directories are watched, and replace a directory."""
    with scene(new_tmpfs, ChangeCase([], command=[*LIMITED, LIMIT.format("watches"), str(PLENTY)])) as it:
        assert it.watcher() == {"mode": "inotify", "alive": True, "faults": {}}
        limit(it, "watches", 0)
        edits.put_another_directory_in_place(it)
        # The report comes after the table.
        it.see(
            lambda: it.reports()[1:][-1:] == ["applied"] and it.table() == TWO and it.watcher()["mode"] == "polling",
            "polling",
        )
        seen_s = follow_step(it, Step(edits.replace("etc/daemon.json", "three"), ("applied",), THREE))
        assert sorted(it.watcher()["faults"]) == [str(it.etc), str(it.dropins)]
        limit(it, "watches", PLENTY)
        back_s = it.see(lambda: it.watcher()["mode"] == "inotify", "inotify again", COMES_BACK_S)
    return f"{seen_s:.1f} s; inotify came back after {back_s:.0f} s"


do_without_instances = partial(do_without, "instances", 0)
do_with_one_watch = partial(do_without, "watches", 1)
do_without_watches = partial(do_without, "watches", 0)
