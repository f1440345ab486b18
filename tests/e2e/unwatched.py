"""Configurations that inotify cannot tell of: on FUSE, with its limits reached, with more events than it keeps."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

from e2e import edits
from e2e.changing import ONE, Case, Scene, Step, dropin, follow_case, follow_step, main_file, scene
from e2e.volumes import Fill, Volume, new_tmpfs, run

TWO, THREE = ONE | {"w": "/opt/two"}, ONE | {"w": "/opt/three"}
# The daemon tries again after 30 s, and looks by the clock.
COMES_BACK_S = 90.0
LIMIT = "/proc/sys/user/max_inotify_{}"
PLENTY = 10_000


def new_bindfs(point: Path, fill: Fill) -> Volume:
    """Return a FUSE file system that shows the directory beside it."""
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
    Case(
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


def lose_events(it: Scene) -> None:
    """Make more events than the kernel keeps while nobody takes any, and the one that matters last."""
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (it.etc / "a").touch()
    it.daemon.send(signal.SIGSTOP)
    try:
        for _ in range(kept // 2):
            (it.etc / "a").rename(it.etc / "b")
            (it.etc / "b").rename(it.etc / "a")
        it.main.write_text(json.dumps(main_file("two")))
    finally:
        it.daemon.send(signal.SIGCONT)


see_a_change_whose_event_is_lost = partial(
    follow_case,
    new_tmpfs,
    Case(
        [
            Step(lose_events, ("applied",), TWO),
            Step(edits.write_in_place("etc/daemon.json", "three"), ("applied",), THREE),
        ]
    ),
)


def do_without(what: str, left: int) -> str:
    """Go through changes while inotify has reached a limit, until there is more of it, and after that."""
    # The limits of a user namespace are its own. Root is root in there.
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c", 'echo "$1" >"$0"; shift; exec "$@"']
    case = Case([], command=[*limited, LIMIT.format(what), str(left)], mode="inotify")
    with scene(new_tmpfs, case) as it:
        watcher = it.watcher()
        assert (watcher["mode"], watcher["alive"]) == ("polling", True)
        assert watcher["faults"]
        assert all(f"no inotify {what}" in reason for reason in watcher["faults"].values())
        polled_s = follow_step(it, Step(edits.write_in_place("etc/daemon.json", "two"), ("applied",), TWO))
        added = Step(edits.add_dropin, ("applied",), TWO | {"new": "/opt/c"})
        added_s = follow_step(it, added)
        assert it.watcher()["mode"] == "polling"
        assert it.daemon.process is not None
        more = f"echo {PLENTY} >{LIMIT.format(what)}"
        inside = ["nsenter", "--user", "--preserve-credentials", "--target", str(it.daemon.process.pid)]
        run(*inside, "sh", "-c", more)
        back_s = it.see(lambda: it.watcher()["mode"] == "inotify", "inotify again", COMES_BACK_S)
        assert it.watcher()["faults"] == {}
        wrote = Step(edits.write_in_place("etc/daemon.json", "three"), ("applied",), THREE | {"new": "/opt/c"})
        seen_s = follow_step(it, wrote)
    return f"{polled_s:.1f} s, {added_s:.1f} s; inotify came back after {back_s:.0f} s; {seen_s:.1f} s"


do_without_instances = partial(do_without, "instances", 0)
do_with_one_watch = partial(do_without, "watches", 1)
do_without_watches = partial(do_without, "watches", 0)
