"""The private attributes and the undocumented behaviour of watchdog on which the watcher depends.

A failure names the one that differs in the installed version of watchdog.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, wait_until
from watchdog import events
from watchdog.events import FileSystemEvent
from watchdog.observers.api import EventEmitter
from watchdog.utils import BaseThread

from runtimed.host.watch import watchdog_internals
from runtimed.host.watch.watchdog_internals import _EVENTS, FLOOD, DirectoryObserver

VERSION = version("watchdog")
MAJOR, MINOR = map(int, VERSION.split(".")[:2])
ADAPT = f"watchdog {VERSION}: adapt runtimed/host/watch/watchdog_internals.py:"


class Recorder:
    """An observer of one directory with its events and the number of possible losses."""

    def __init__(self, directory: Path) -> None:
        self.events: list[FileSystemEvent] = []
        self.losses = 0
        self.watching = DirectoryObserver(self._on_event, self._on_loss)
        self.watch = self.watching.add(str(directory))

    def _on_event(self, directory: str, event: FileSystemEvent) -> None:
        self.events.append(event)

    def _on_loss(self) -> None:
        self.losses += 1

    @property
    def emitter(self) -> EventEmitter:
        [emitter] = self.watching.observer.emitters
        return emitter

    def kinds(self, path: Path) -> set[str]:
        return {event.event_type for event in self.events if os.fsdecode(event.src_path) == str(path)}


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path)
    yield recorder
    recorder.watching.stop(PATIENCE_S)
    assert not recorder.watching.alive


def test_the_installed_version_is_one_that_was_tested() -> None:
    # Version 7.0 has one reading thread for the whole process, which nothing restarts and whose death is not noticed.
    assert (MAJOR, MINOR) != (7, 0), f"watchdog {VERSION} cannot be used: install 6.0, or 7.1 or later"
    assert MAJOR in (6, 7), f"{ADAPT} it was tested with versions 6 and 7; if the tests below pass, add {MAJOR} here"


def test_the_thread_that_reads_from_the_kernel_is_where_it_is_expected(recorder: Recorder) -> None:
    owner, attribute = (recorder.emitter, "_inotify") if MAJOR == 6 else (recorder.watching.observer, "_inotify_fd")
    where = f"{type(owner).__name__}.{attribute}"
    assert hasattr(owner, attribute), f"{ADAPT} {where} is gone; it held the thread that reads inotify events"
    reader = getattr(owner, attribute)
    assert isinstance(reader, BaseThread), f"{ADAPT} {where} is no thread but {type(reader).__name__}"
    assert reader.is_alive(), f"{ADAPT} the thread in {where} does not run while a directory is watched"


def test_every_thread_belongs_to_a_known_attribute(recorder: Recorder) -> None:
    observer, emitter = recorder.watching.observer, recorder.emitter
    known = [observer, emitter, getattr(observer, "_inotify_fd", None), getattr(emitter, "_inotify", None)]
    unknown = [thread for thread in threads() if thread not in known]
    assert not unknown, f"{ADAPT} `alive` and `live_watches` do not check the threads {unknown}"


def threads() -> list[BaseThread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, BaseThread)]


def test_the_death_of_any_thread_is_noticed(tmp_path: Path) -> None:
    names = {type(thread).__name__ for thread in running_threads(tmp_path)}
    assert len(names) == 3, f"{ADAPT} its threads are {names}; expected an observer, an emitter and a reader"
    for name in sorted(names):
        recorder = Recorder(tmp_path)
        [thread] = [thread for thread in threads() if type(thread).__name__ == name]
        thread.stop()
        thread.join(PATIENCE_S)
        noticed = not recorder.watching.alive or recorder.watch not in recorder.watching.live_watches()
        recorder.watching.stop(PATIENCE_S)
        assert noticed, f"{ADAPT} it does not notice that the thread {name} has ended"


def running_threads(directory: Path) -> list[BaseThread]:
    recorder = Recorder(directory)
    found = threads()
    recorder.watching.stop(PATIENCE_S)
    return found


def test_all_classes_of_events_that_can_be_filtered_are_known() -> None:
    found = {name for name in vars(events) if name.startswith(("File", "Dir")) and name.endswith("Event")}
    found -= {"FileSystemEvent", "FileSystemMovedEvent", "FileOpenedEvent", "FileClosedNoWriteEvent"}
    missing = found - {event.__name__ for event in _EVENTS}
    if MAJOR == 6:
        missing -= {"DirModifiedEvent", "FileModifiedEvent"}
    assert missing <= {"DirModifiedEvent"}, f"{ADAPT} it has further events, which _EVENTS does not name: {missing}"


def test_reading_makes_no_event_and_a_chmod_makes_one(recorder: Recorder, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    wait_until(lambda: "closed" in recorder.kinds(file), "the event of the writing")
    recorder.events.clear()
    file.read_text()
    os.listdir(tmp_path)
    (tmp_path / "sentinel").touch()
    wait_until(lambda: recorder.kinds(tmp_path / "sentinel"), "the event of the sentinel")
    assert recorder.kinds(file) == set(), f"{ADAPT} reading a file makes events in spite of event_filter"
    file.chmod(0o600)
    wait_until(lambda: recorder.kinds(file), f"{ADAPT} a chmod makes no event")
    expected = "modified" if MAJOR == 6 else "attrib"
    assert recorder.kinds(file) == {expected}, f"{ADAPT} a chmod is reported as {recorder.kinds(file)}"


def test_a_deleted_directory_is_reported_under_its_path(tmp_path: Path) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    recorder = Recorder(directory)
    directory.rmdir()
    wait_until(lambda: "deleted" in recorder.kinds(directory), f"{ADAPT} a deleted directory makes no event")
    recorder.watching.remove(recorder.watch)  # raises nothing, although the watch has ended
    recorder.watching.stop(PATIENCE_S)


def test_an_unreadable_directory_is_refused(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimed.host.watch.watchdog_internals.os.access", lambda *_, **__: False)
    with pytest.raises(PermissionError, match="may not be read"):
        recorder.watching.add("/etc")


def test_many_events_count_as_a_possible_loss(recorder: Recorder, tmp_path: Path) -> None:
    for number in range(FLOOD):
        (tmp_path / f"other{number}").touch()
    wait_until(lambda: recorder.losses, f"{ADAPT} {FLOOD} new files make fewer than {FLOOD} events")


def test_a_warning_of_watchdog_counts_as_a_possible_loss(recorder: Recorder) -> None:
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; filesystem events were lost")
    assert recorder.losses == 1
    recorder.watching.stop(PATIENCE_S)
    logging.getLogger("watchdog.observers.inotify_c").warning("after the end")
    assert recorder.losses == 1


def test_loggers_of_watchdog_are_below_the_logger_that_is_listened_to() -> None:
    names = {
        module.logger.name
        for name, module in list(sys.modules.items())
        if name.startswith("watchdog.") and isinstance(getattr(module, "logger", None), logging.Logger)
    }
    assert names, f"{ADAPT} its modules have no `logger`; version 7.1 logs the loss of events"
    assert all(name.startswith("watchdog.") for name in names), f"{ADAPT} it logs under other names: {names}"


def test_only_one_module_names_private_attributes_of_watchdog() -> None:
    here = Path(watchdog_internals.__file__)
    others = [path for path in here.parents[2].rglob("*.py") if path != here]
    assert [path.name for path in others if '"_inotify' in path.read_text() or "BaseThread" in path.read_text()] == []
    assert len(here.read_text().splitlines()) <= 120
