"""Every way in which a configuration changes, on real file systems: the right table is served, each change told once.

All of it runs side by side, because nearly all of it is waiting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future

import pytest
from e2e.harness import edits, floods, mounting, unwatched
from e2e.harness.changing import (
    AT_ONCE_S,
    ONE,
    ChangeCase,
    Step,
    Trial,
    dropin,
    main_file,
    side_by_side,
    trials_in_memory,
    trials_of,
)
from e2e.test_reference_scan_faults import WITHOUT_DAC

# All of them wait for their turn together, and one that the machine is too slow for is tried again.
pytestmark = pytest.mark.timeout(900)

TWO = ONE | {"w": "/opt/two"}
THREE = ONE | {"w": "/opt/three"}
WINNER_A = ONE | {"d": "/opt/a"}
APPLIED, UNCHANGED, REJECTED = ("applied",), ("unchanged",), ("rejected",)

WRITE_TWO = Step(edits.write_in_place("etc/daemon.json", "two"), APPLIED, TWO)
WRITE_THREE = Step(edits.write_in_place("etc/daemon.json", "three"), APPLIED, THREE)

CASES = {
    "a write in place": ChangeCase([WRITE_TWO]),
    "a truncation, and the content a second later": ChangeCase(
        [Step(edits.truncate_then_write, APPLIED, TWO, within_s=1.8)]
    ),
    "white space at the end": ChangeCase([Step(edits.append_white_space, UNCHANGED, ONE)]),
    "vim": ChangeCase([Step(edits.save_with_vim, APPLIED, TWO, AT_ONCE_S), WRITE_THREE]),
    "sed -i": ChangeCase([Step(edits.run_sed, APPLIED, TWO)]),
    "a rename from beside": ChangeCase([Step(edits.replace_from_beside, APPLIED, TWO), WRITE_THREE]),
    "a rename from elsewhere": ChangeCase([Step(edits.replace_from_elsewhere, APPLIED, TWO), WRITE_THREE]),
    "a linked file, and its target": ChangeCase(
        [
            Step(edits.write_in_place("shelf/one.json", "three"), APPLIED, THREE),
            Step(edits.switch_link("etc/daemon.json", "../shelf/two.json"), APPLIED, TWO),
            Step(edits.write_in_place("shelf/two.json", "three"), APPLIED, THREE),
        ],
        fill=edits.fill_with_linked_file,
    ),
    "a linked directory": ChangeCase(
        [
            Step(edits.switch_link("etc", "etc-2"), APPLIED, TWO),
            Step(edits.write_in_place("etc-1/daemon.json", "three"), (), TWO),
            WRITE_THREE,
        ],
        fill=edits.fill_with_linked_directory,
    ),
    "a file deleted and created": ChangeCase([Step(edits.delete_and_create, APPLIED, TWO, AT_ONCE_S), WRITE_THREE]),
    "a directory deleted and created": ChangeCase(
        [Step(edits.delete_directory_and_create, APPLIED, TWO, AT_ONCE_S), WRITE_THREE]
    ),
    "a directory moved away for another": ChangeCase(
        [Step(edits.put_another_directory_in_place, APPLIED, TWO, AT_ONCE_S), WRITE_THREE]
    ),
    "an end of the mount, and its return": ChangeCase(
        [Step(mounting.unmount, REJECTED, ONE), Step(mounting.mount_again, UNCHANGED, ONE, AT_ONCE_S), WRITE_TWO]
    ),
    "a file system over the directory": ChangeCase(
        [
            Step(mounting.mount_over_directory, APPLIED, TWO),
            WRITE_THREE,
            Step(mounting.unmount_from("etc"), APPLIED, ONE),
            WRITE_TWO,
        ]
    ),
    "a file bound over the file": ChangeCase(
        [
            Step(mounting.bind_file, APPLIED, TWO),
            WRITE_THREE,
            Step(mounting.unmount_from("etc/daemon.json"), APPLIED, ONE),
            WRITE_TWO,
        ]
    ),
    "a directory bound over the directory": ChangeCase(
        [
            Step(mounting.bind_directory, APPLIED, TWO),
            WRITE_THREE,
            Step(mounting.unmount_from("etc"), APPLIED, ONE),
            WRITE_TWO,
        ]
    ),
    "a drop-in more": ChangeCase([Step(edits.add_dropin, APPLIED, ONE | {"new": "/opt/c"})]),
    "a drop-in less": ChangeCase([Step(edits.remove_dropin, APPLIED, WINNER_A)]),
    "a drop-in with another place in the order": ChangeCase([Step(edits.rename_dropin, APPLIED, WINNER_A)]),
    "a drop-in disabled and enabled": ChangeCase(
        [Step(edits.disable_dropin, APPLIED, WINNER_A), Step(edits.enable_dropin, APPLIED, ONE)]
    ),
    "a touch": ChangeCase([Step(edits.touch, (), ONE)]),
    "the same content in a new file": ChangeCase([Step(edits.write_same_content, (), ONE)]),
    "other files beside it": ChangeCase([Step(edits.write_beside, (), ONE)]),
    "a file that becomes unreadable, and readable": ChangeCase(
        [
            Step(edits.set_mode("etc/daemon.json", 0), REJECTED, ONE),
            Step(edits.set_mode("etc/daemon.json", 0o644), UNCHANGED, ONE),
            WRITE_TWO,
        ],
        command=WITHOUT_DAC,
    ),
    "a directory that becomes unreadable, and readable": ChangeCase(
        [
            Step(edits.set_mode("etc", 0), REJECTED, ONE),
            Step(edits.set_mode("etc", 0o755), UNCHANGED, ONE),
            WRITE_TWO,
        ],
        command=WITHOUT_DAC,
    ),
}

# A moment at which the configuration is not whole, ways round it, and what lies above or below it.
CASES |= {
    "a write in pieces": ChangeCase([Step(edits.write_in_pieces, APPLIED, TWO, within_s=4.0)]),
    "two files in a moment": ChangeCase([Step(edits.write_two_files, APPLIED, TWO | {"d": "/opt/a"}, AT_ONCE_S)]),
    "vim itself": ChangeCase([Step(edits.run_vi, APPLIED, TWO, AT_ONCE_S), WRITE_THREE]),
    "mv from another file system": ChangeCase([Step(edits.run_mv, APPLIED, TWO, AT_ONCE_S), WRITE_THREE]),
    "two files that change places": ChangeCase([Step(edits.exchange, APPLIED, TWO), WRITE_THREE]),
    "a link in the middle": ChangeCase(
        [
            Step(edits.switch_link("middle", "shelf/two.json"), APPLIED, TWO),
            Step(edits.replace("shelf/two.json", "three"), APPLIED, THREE),
        ],
        fill=edits.fill_with_links_in_line,
    ),
    "a file that becomes a link, and a file": ChangeCase(
        [
            Step(edits.switch_link("etc/daemon.json", "../shelf.json"), APPLIED, TWO),
            Step(edits.replace("etc/daemon.json", "one"), APPLIED, ONE),
            Step(edits.write_in_place("shelf.json", "three"), (), ONE),
            WRITE_TWO,
        ],
        fill=edits.fill_with_shelf,
    ),
    "a file deleted, and created later": ChangeCase([Step(edits.delete("etc/daemon.json"), REJECTED, ONE), WRITE_TWO]),
    "a directory deleted, and created later": ChangeCase(
        [
            Step(edits.delete_directory("etc"), REJECTED, ONE, AT_ONCE_S),
            Step(edits.fill_again, APPLIED, TWO, AT_ONCE_S),
            WRITE_THREE,
        ]
    ),
    "all drop-ins for others, and for none": ChangeCase(
        [
            Step(edits.put_other_dropins_in_place, APPLIED, WINNER_A, AT_ONCE_S),
            Step(edits.add_dropin, APPLIED, WINNER_A | {"new": "/opt/c"}),
            Step(edits.delete_directory("etc/daemon.json.d"), APPLIED, {"w": "/opt/one"}, AT_ONCE_S),
        ]
    ),
    "an end of the mount, and its return with a change": ChangeCase(
        [Step(mounting.unmount, REJECTED, ONE), Step(mounting.mount_again_changed, APPLIED, TWO), WRITE_THREE]
    ),
    "a file system over the file system": ChangeCase(
        [Step(mounting.mount_over_all, APPLIED, TWO), WRITE_THREE, Step(mounting.unmount, APPLIED, ONE), WRITE_TWO]
    ),
    "a file bound over a drop-in": ChangeCase(
        [
            Step(mounting.bind_dropin, APPLIED, ONE | {"d": "/opt/c"}),
            Step(mounting.write_bound_dropin, APPLIED, {"w": "/opt/three", "d": "/opt/a"}),
            Step(mounting.unmount_from("etc/daemon.json.d/20-b.json"), APPLIED, ONE),
        ]
    ),
    "no drop-ins bound over the drop-ins": ChangeCase(
        [
            Step(mounting.bind_no_dropins, APPLIED, {"w": "/opt/one"}),
            Step(mounting.unmount_from("etc/daemon.json.d"), APPLIED, ONE),
        ]
    ),
}

REFUSED = {
    "a file that everybody may write to": (
        edits.set_mode("etc/daemon.json", 0o666),
        edits.set_mode("etc/daemon.json", 0o644),
    ),
    "a directory that everybody may write to": (edits.set_mode("etc", 0o777), edits.set_mode("etc", 0o755)),
    "a file of somebody else": (edits.set_owner("etc/daemon.json", 65534), edits.set_owner("etc/daemon.json", 0)),
    "an unreadable drop-in": (
        edits.set_mode("etc/daemon.json.d/10-a.json", 0),
        edits.set_mode("etc/daemon.json.d/10-a.json", 0o644),
    ),
    "unreadable drop-ins": (edits.set_mode("etc/daemon.json.d", 0), edits.set_mode("etc/daemon.json.d", 0o755)),
}
CASES_IN_MEMORY = {
    name: ChangeCase([Step(spoil, REJECTED, ONE), Step(mend, UNCHANGED, ONE), WRITE_TWO], command=WITHOUT_DAC)
    for name, (spoil, mend) in REFUSED.items()
} | {
    "modes that leave it readable": ChangeCase(
        [Step(edits.set_mode("etc/daemon.json", 0o600), (), ONE), Step(edits.set_mode("etc", 0o700), (), ONE)],
        command=WITHOUT_DAC,
    ),
    "a remount": ChangeCase([Step(mounting.remount("ro"), (), ONE), Step(mounting.remount("rw"), (), ONE), WRITE_TWO]),
    "mounts elsewhere": ChangeCase([Step(mounting.mount_elsewhere, (), ONE), WRITE_TWO]),
}

MAIN_IN_CONFIGMAP = {"daemon.json": main_file("one")}
DROPINS_IN_CONFIGMAP = {"10-a.json": dropin("one", "w"), "20-b.json": dropin("b")}
CONFIGMAPS = {
    "a main file in a ConfigMap": ChangeCase(
        [
            Step(edits.update_configmap(2, {"daemon.json": main_file("two")}), APPLIED, {"w": "/opt/two"}, AT_ONCE_S),
            Step(edits.update_configmap(3, {"daemon.json": main_file("two")}), (), {"w": "/opt/two"}, AT_ONCE_S),
            Step(edits.update_configmap(4, MAIN_IN_CONFIGMAP), APPLIED, {"w": "/opt/one"}, AT_ONCE_S),
        ],
        fill=edits.fill_configmap(MAIN_IN_CONFIGMAP),
        main="config/daemon.json",
        begins={"w": "/opt/one"},
    ),
    "drop-ins in a ConfigMap": ChangeCase(
        [
            Step(
                edits.update_configmap(2, DROPINS_IN_CONFIGMAP | {"10-a.json": dropin("two", "w")}),
                APPLIED,
                TWO,
                AT_ONCE_S,
            ),
            Step(
                edits.update_configmap(3, {"10-a.json": dropin("two", "w"), "30-c.json": dropin("c", "new")}),
                APPLIED,
                {"w": "/opt/two", "new": "/opt/c"},
                AT_ONCE_S,
            ),
            Step(edits.update_configmap(4, DROPINS_IN_CONFIGMAP), APPLIED, ONE, AT_ONCE_S),
        ],
        fill=edits.fill_configmap(DROPINS_IN_CONFIGMAP),
        more=["--config-dir", "{base}/config"],
        main="daemon.json",
    ),
}

CHANGES = [*trials_in_memory(CONFIGMAPS | CASES_IN_MEMORY), *trials_of(CASES)]


UNWATCHED = [
    Trial("no inotify instances", unwatched.do_without_instances),
    Trial("no inotify watches", unwatched.do_without_watches),
    Trial("one inotify watch", unwatched.do_with_one_watch),
    Trial("no more inotify watches", unwatched.do_without_more_watches),
    Trial("a write to memory", unwatched.see_what_is_written_to_memory),
    Trial("a write to another name of the file", unwatched.see_what_is_written_to_another_name),
    Trial("a FUSE file system", unwatched.see_what_others_change_on_fuse),
    Trial("drop-ins on a FUSE file system, and no more", unwatched.see_dropins_on_fuse),
    Trial("a queue that overflows", unwatched.see_a_change_whose_event_is_lost),
]
FLOODS = [
    Trial("a file rewritten without pause", floods.rewrite_without_pause),
    Trial("a file rewritten evenly", floods.rewrite_evenly),
    Trial("a thousand drop-ins", floods.write_a_thousand_dropins),
]
READINGS = [
    Trial("readings by others", floods.read_by_others),
    Trial("readings by the daemon", floods.read_by_itself),
]


def named(trials: list[Trial]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("trial", trials, ids=[trial.name for trial in trials])


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[str]]]:
    chosen = [item.callspec.params["trial"] for item in request.session.items if item.path == request.path]  # type: ignore[attr-defined]
    # In the order of the tests, of which those come first that take longest.
    with side_by_side(chosen) as futures:
        yield futures


def see(running: Mapping[str, Future[str]], trial: Trial) -> None:
    print(f"{trial.name}: {running[trial.name].result()}")  # noqa: T201 - for those who ask with -s


@named(UNWATCHED)
def test_a_change_of_which_inotify_does_not_tell_is_served(running: Mapping[str, Future[str]], trial: Trial) -> None:
    see(running, trial)


@named(FLOODS)
def test_many_changes_are_served_by_few_reloads(running: Mapping[str, Future[str]], trial: Trial) -> None:
    see(running, trial)


@named(READINGS)
def test_a_reading_is_no_change(running: Mapping[str, Future[str]], trial: Trial) -> None:
    see(running, trial)


@named(CHANGES)
def test_a_change_is_served_and_reported_once(running: Mapping[str, Future[str]], trial: Trial) -> None:
    see(running, trial)
