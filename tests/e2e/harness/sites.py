"""A data root of some history, and a daemon that is started again and again on fresh copies of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from mmap import PAGESIZE, mmap
from pathlib import Path
from typing import Any, Literal, Self

from harness.daemon import RunningDaemon, UnixConnection, short_directory, wait_until

from runtimed.core.history.event_lines import read_lines
from runtimed.core.history.layout import EVENTS, TABLE_FILE
from runtimed.core.history.manifest import Manifest, checksum
from runtimed.core.table.script import is_intact
from runtimed.core.table.wrapper import make_wrapper
from runtimed.host.store.parts import PartReader
from runtimed.host.store.paths import Paths

Outcome = Literal["old", "new"]


def table(**runtimes: Sequence[str]) -> dict[str, Any]:
    """Return a configuration of runtimes with these arguments, with which few generations are kept."""
    wrapped = {name: {"path": "/bin/echo", "runtimeArgs": list(args)} for name, args in runtimes.items()}
    return {"runtimes": wrapped | {"plain": {"path": "/bin/echo"}}, "runtimed": {"retain": 3}}


FIRST = table(earlier=["1"])
SECOND = table(earlier=["1"], same=["1"])
THIRD = table(same=["1"], changed=["0"])
OLD = table(same=["1"], changed=["1"], dropped=["1"])
NEW = table(same=["1"], changed=["2"], added=["1"], halfway=["1"])
# Made before OLD; those that are long past are dropped by the next publish.
BEFORE = (FIRST, SECOND, THIRD)
LONG_PAST = (1, 2)
LAST = len(BEFORE) + 1
# The stable paths that clients may have been given by then.
STABLE = ("earlier", "same", "changed", "dropped", "plain")


class Site:
    """A place where the same daemon is started again and again, each time on a fresh copy of one data root.

    It has to be the same place, because answers, and so generations, name paths.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daemon = RunningDaemon(root)
        self.data = self.daemon.data
        # What a fresh daemon answers.
        self.fresh: dict[str, Any] = {}
        # What is told of the generations that were there before, by number.
        self.past: dict[int, Any] = {}
        self.links: dict[Outcome, Mapping[str, str]] = {}
        # The logs of all daemons that ran here, one after the other.
        self.logged = b""
        # The configuration file of the daemon that runs, in memory.
        self._page: mmap

    def prepare(self) -> Self:
        """Fill the data root that all copies are taken from, and learn what is right."""
        for config in (OLD, NEW):
            with self.running(config):
                self.fresh[key(config)] = self.answers()
            shutil.rmtree(self.data)
        for config in (*BEFORE, OLD):
            with self.running(config):
                pass
        for number in LONG_PAST:
            _make_older(self.data / "generations" / f"{number:08d}" / "manifest.json")
        # What a publish that was killed earlier may have left of a wrapper.
        (self.data / "wrappers" / make_wrapper("halfway", "/bin/echo", ["1"]).file).touch(0o700)
        self.keep("prepared")
        with self.running(OLD):
            self.past = {number: self.told(number) for number in self.retained()}
        assert list(self.past) == [*range(1, LAST + 1)]
        self.links["old"] = self.published()[1]
        with self.old_daemon():
            self.apply(NEW, LAST + 1)
        self.links["new"] = self.published()[1]
        assert self.links["old"].keys() == {*STABLE, "plain"}
        assert self.links["new"].keys() == {*STABLE, "plain", "added", "halfway"}
        return self

    @property
    def pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    def keep(self, name: str) -> None:
        """Keep a copy of the data root under ``name``."""
        shutil.rmtree(self.root / name, ignore_errors=True)
        shutil.copytree(self.data, self.root / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Make the data root a fresh copy of what was kept under ``name``."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self.root / name, self.data, symlinks=True)
        # The numbers of another test, which is not to count as rolled back.
        for remembered in (self.root / "run").glob("generation-*"):
            remembered.unlink()
        (self.root / "run" / TABLE_FILE).unlink(missing_ok=True)

    @contextlib.contextmanager
    def running(self, config: object) -> Iterator[RunningDaemon]:
        """Run a daemon with ``config``, and see it stop in order unless it was killed."""
        self.daemon.log_file.unlink(missing_ok=True)
        self.daemon.config.write_bytes(_page(config))
        with self.daemon.config.open("r+b") as file, mmap(file.fileno(), PAGESIZE) as self._page:
            try:
                begun_s = time.time()
                self.daemon.start()
                # Written by the thread that publishes, which would otherwise do so among what a test looks at.
                wait_until(lambda: self._has_event_of_start(begun_s), "the event of the start")
                yield self.daemon
                if not self.daemon.has_ended():
                    assert self.daemon.stop() == 0
            finally:
                self.daemon.kill()
                self.logged += self.daemon.log_file.read_bytes()

    def _has_event_of_start(self, since_s: float) -> bool:
        path = (self.data / (self.data / "runtimes").readlink()).parent / EVENTS
        events = read_lines(path.read_bytes()) if path.exists() else ()
        return any(event.get("reason") == "start" and event["time"] >= since_s for event in events)

    @contextlib.contextmanager
    def old_daemon(self) -> Iterator[RunningDaemon]:
        """Run a daemon with OLD on a fresh copy of the prepared data root."""
        self.restore("prepared")
        with self.running(OLD):
            yield self.daemon

    def reload(self, config: object) -> dict[str, Any]:
        """Write ``config``, ask for a reload, return the report; empty when the daemon dies of it."""
        # Through memory, of which inotify tells nothing. But the daemon reads its files again a moment after its start
        # and every 30 s.
        self._page[:] = _page(config)
        try:
            return self.daemon.reload()
        except (OSError, HTTPException):
            return {}

    def apply(self, config: object, number: int) -> None:
        """Reload ``config`` and check that it is generation ``number``.

        The daemon may have read it by itself first: then the answer is "unchanged".
        """
        report = self.reload(config)
        assert report.get("outcome") in ("applied", "unchanged"), report
        assert report["generation"] == number, report

    def answers(self) -> Any:
        """Return all that is answered about runtimes, but for the generation's number."""
        listed = self.daemon.table()
        names = [runtime["name"] for runtime in listed["runtimes"]]
        return _without_number([listed, *(self.daemon.resolve(name) for name in names)])

    def retained(self) -> list[int]:
        return sorted(one["generation"] for one in self.daemon.get("/v1/generations")[1]["generations"])

    def told(self, number: int) -> Any:
        status, body = self.daemon.get(f"/v1/generations/{number}")
        assert status == 200, body
        return {key: value for key, value in body.items() if key != "current"}

    def published(self) -> tuple[int, Mapping[str, str]]:
        """Return the generation that ``runtimes`` leads to, and its links to launchers; fail unless it is whole."""
        directory = (self.data / (self.data / "runtimes").readlink()).parent
        number = int(directory.name)
        manifest = self.manifest(number)
        assert checksum((directory / "config.json").read_bytes()) == manifest.config_checksum
        links = {}
        for link in (self.data / "runtimes").iterdir():
            launcher = link.resolve(strict=True)
            assert launcher.parent == self.data / "wrappers"
            assert is_intact(launcher.name, launcher.read_bytes()), launcher
            assert launcher.lstat().st_mode & 0o7777 == 0o755
            links[link.name] = launcher.name
        assert links == {**manifest.carried, **manifest.links}
        return number, links

    def manifest(self, number: int) -> Manifest:
        """Return the manifest of a generation; fail unless it and its parts are whole."""
        return PartReader(Paths(str(self.data))).read(number)

    def number_in_table_file(self) -> int:
        """Return the generation of the table file; fail unless the file is whole."""
        found = json.loads((self.root / "run" / TABLE_FILE).read_bytes())
        assert {each["generation"] for each in found["runtimes"].values()} == {found["generation"]}
        return int(found["generation"])

    def outcome(self) -> Outcome:
        """Return which generation is on disk; fail unless it is one of the two, whole."""
        number, links = self.published()
        assert self.number_in_table_file() <= number, "no reader gets a generation that is not published"
        state: Outcome = "old" if number == LAST else "new"
        assert links == self.links[state]
        assert number == (LAST if state == "old" else LAST + 1)
        return state

    def check_start(self, config: object, state: Outcome) -> None:
        """Start on what is there, whose outcome is ``state``, and see that nothing is lost and nothing is left over."""
        existed = [int(path.name) for path in (self.data / "generations").iterdir()]
        kept = state == ("new" if config == NEW else "old")
        current = LAST if state == "old" else LAST + 1
        with self.running(config):
            status = self.daemon.status()
            assert status["health"] == {"status": "ok", "reasons": {}}
            assert status["generation"] == current if kept else status["generation"] > max(existed)
            assert self.answers() == self.fresh[key(config)]
            assert self.number_in_table_file() == status["generation"]
            retained = self.retained()
            assert {*range(max(LONG_PAST) + 1, current + 1), status["generation"]} <= set(retained)
            told = {number: self.told(number) for number in retained}
            assert all(told[number] == self.past[number] for number in retained if number in self.past)
            self.check_tidy(retained)
            # What was not finished may look damaged: a manifest that was made and not written.
            faults = [event["fault"] for event in self.daemon.log() if event["event"] == "store.recovered"]
            assert not [fault for fault in faults if not fault.startswith(f"generation {LAST + 1} is damaged")], faults
            # And on it goes, to a number that nobody was ever told.
            report = self.reload(OLD if config == NEW else NEW)
            # The daemon's own look at the files may have been first.
            assert report["outcome"] in ("applied", "unchanged"), report
            assert report["generation"] > max(*existed, status["generation"])
            self.published()

    def check_tidy(self, retained: Sequence[int]) -> None:
        """See that nothing of an attempt is left, and that all that retained generations need is there."""
        assert not list(self.data.rglob(".tmp-*"))
        assert not (self.root / "run" / f".tmp-{TABLE_FILE}").exists()
        found = {int(path.name): path for path in (self.data / "generations").iterdir()}
        assert sorted(found) == list(retained)
        parts: set[str] = set()
        for number in found:
            manifest = self.manifest(number)
            parts |= manifest.parts.keys()
            for file in manifest.files:
                assert is_intact(file, (self.data / "wrappers" / file).read_bytes())
        assert {path.name for path in (self.data / "parts").iterdir()} == parts


def _page(config: object) -> bytes:
    return json.dumps(config).encode().ljust(PAGESIZE)


def key(config: object) -> str:
    return json.dumps(config)


def _without_number(answers: Any) -> Any:
    match answers:
        case dict():
            return {key: _without_number(value) for key, value in answers.items() if key != "generation"}
        case list():
            return [_without_number(one) for one in answers]
    return answers


def _make_older(manifest: Path) -> None:
    """Change the time in a manifest to two hours earlier, and its checksum with it."""
    text = manifest.read_text()
    created = json.loads(text)["created"]
    body = text.rpartition(',\n"checksum": ')[0].replace(f'"created": {created}', f'"created": {created - 7200}')
    digest = hashlib.sha256(body.encode()).hexdigest()
    manifest.write_text(f'{body},\n"checksum": "sha256:{digest}"\n}}\n')


class Asker:
    """A client that asks all the time, and looks at the stable paths, from when it is started until it is stopped."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self._right = {config: _resolutions(site.fresh[key(c)]) for config, c in (("old", OLD), ("new", NEW))}
        self.answered: Counter[str] = Counter()
        self.lost: list[str] = []
        self.thread = threading.Thread(target=self._ask_and_look)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.thread.join()

    def _ask_and_look(self) -> None:
        connection = UnixConnection(str(self._site.daemon.socket))
        with contextlib.closing(connection):
            stopping = False
            while not stopping:
                # Once more after it is over.
                stopping = self._stop.wait(0.002)
                try:
                    for name in ("same", "changed"):
                        self._ask(connection, name)
                    for link in STABLE:
                        self._look(link)
                except (OSError, HTTPException, ValueError, AssertionError) as error:
                    self.lost.append(repr(error))
                    return

    def _ask(self, connection: UnixConnection, name: str) -> None:
        connection.request("GET", f"/v1/resolve?runtime={name}")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        state = "old" if body["generation"] == LAST else "new"
        assert _without_number(body) == self._right[state][name], body
        self.answered[state] += 1

    def _look(self, link: str) -> None:
        text = (self._site.data / "runtimes" / link).read_bytes()
        assert any(is_intact(links[link], text) for links in self._site.links.values()), (link, text)


def _resolutions(answers: Any) -> dict[str, Any]:
    return {one["runtime"]: one for one in answers[1:]}


@contextlib.contextmanager
def new_site() -> Iterator[Site]:
    """Yield a site that is not prepared yet."""
    with short_directory() as root:
        site = Site(root)
        try:
            yield site
        finally:
            site.daemon.kill()
