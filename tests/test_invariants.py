"""The invariants: readers, clients and starts during a stream of reloads."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar

import pytest
from harness.daemon import RunningDaemon, UnixConnection, new_daemon, put, wait_until
from harness.lookup import look_up_each
from harness.proofs import NoProofs
from harness.reload_count import QUICK_RELOADS, configuration
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runtimed.api.describe import describe_table
from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import PENDING, Features
from runtimed.core.history.manifest import rebuild_scripts
from runtimed.core.history.trigger import Trigger
from runtimed.core.plan import BootContext, Plan, plan
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host
from runtimed.host.store import Store
from runtimed.host.store.table_file import StoreWithTableFile, TableFile
from runtimed.reload.reloader import Reloader

P = ParamSpec("P")
T = TypeVar("T")

ANSWERED_RELOADS = min(QUICK_RELOADS, 300)
EXAMPLES = min(QUICK_RELOADS // 3, 60)


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        yield daemon


# Reads two published paths in a tight loop until its standard input ends; then prints its counts.
READER = r"""
import os, sys, threading
steady, restless, whole, partial = sys.argv[1], sys.argv[2], open(sys.argv[1], "rb").read(), []
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("reading", flush=True)
reads = misses = 0
while not ended.is_set():
    for path in (steady, restless):
        reads += 1
        try:
            os.stat(path)
            with open(path, "rb") as file:
                text = file.read()
        except OSError as error:
            misses += 1
            partial.append(str(error))
            continue
        if path == steady and text != whole or not (text.startswith(b"#!/bin/sh\n") and text.endswith(b'"$@"\n')):
            partial.append(repr(text))
print(reads, misses, partial[:5])
"""


@pytest.mark.timeout(120 + 2 * QUICK_RELOADS)
def test_a_reader_of_a_published_path_never_misses_and_never_reads_a_part(
    daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.write({"runtimes": configuration(0)})
    daemon.start()
    paths = [str(daemon.data / "runtimes" / name) for name in ("steady", "restless")]
    with subprocess.Popen(
        [sys.executable, "-c", READER, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
            for number in range(1, QUICK_RELOADS + 1):
                daemon.write({"runtimes": configuration(number)})
                assert daemon.reload()["outcome"] in ("applied", "unchanged")
            output, _ = reader.communicate()
        except BaseException:
            reader.kill()
            raise
    reads, misses, partial = output.split(maxsplit=2)
    with capsys.disabled():
        sys.stdout.write(f"\n{reads} reads during {QUICK_RELOADS} reloads: {misses} missed\n")
    assert (int(misses), partial.strip()) == (0, "[]")
    assert int(reads) > QUICK_RELOADS
    assert daemon.status()["generation"] == QUICK_RELOADS + 1


def expected(runtimes: dict[str, dict[str, Any]], name: str) -> tuple[str, object]:
    """Return the shim and the command or options that the entry of a runtime means."""
    entry = runtimes.get(name, {"path": name})
    if "runtimeType" in entry:
        return entry["runtimeType"], {"config_path": entry["options"]["ConfigPath"]}
    return "io.containerd.runc.v2", [entry["path"], *entry.get("runtimeArgs", ())]


def found(daemon: RunningDaemon, answer: dict[str, Any]) -> tuple[str, object]:
    """Return the shim and the command or options of an answer; the command is in the wrapper that it names."""
    options = answer["options"]
    value = base64.b64decode(options["value"])
    if options["type_url"] == "runtimeoptions.v1.Options":
        assert options["fields"]["config_path"].encode() in value
        return answer["shim"], options["fields"]
    binary = options["fields"]["binary_name"]
    assert binary.encode() in value
    assert options["fields"]["root"] == f"{daemon.root}/run/runtime-runc"
    if not binary.startswith(f"{daemon.data}/wrappers/"):
        return answer["shim"], [binary]
    exec_, *words, arguments = shlex.split(Path(binary).read_text().splitlines()[-1])
    assert (exec_, arguments) == ("exec", "$@")
    return answer["shim"], words


NAMES = ("steady", "restless", "plain", "typed", "runc", "")


@pytest.mark.timeout(120 + 2 * ANSWERED_RELOADS)
def test_every_answer_during_reloads_is_that_of_the_generation_it_names(daemon: RunningDaemon) -> None:
    daemon.write({"runtimes": configuration(0), "default-runtime": "restless"})
    daemon.start()
    descriptors = Path(f"/proc/{daemon.status()['pid']}/fd")
    before = len(list(descriptors.iterdir()))
    written = {1: configuration(0)}
    done = threading.Event()

    def ask() -> list[tuple[int, str, dict[str, Any]]]:
        """Request without pause on one connection; return each different answer once."""
        seen: dict[bytes, tuple[int, str, dict[str, Any]]] = {}
        latest = 0
        connection = UnixConnection(str(daemon.socket))
        try:
            while not done.is_set():
                for name in NAMES:
                    connection.request("GET", f"/v1/resolve?runtime={name}")
                    response = connection.getresponse()
                    body = response.read()
                    assert response.status == 200, body
                    if (key := name.encode() + body) not in seen:
                        answer = json.loads(body)
                        seen[key] = response.status, name, answer
                        assert answer["generation"] >= latest, "a number went back"
                        latest = answer["generation"]
        finally:
            connection.close()
        return list(seen.values())

    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(ask) for _ in range(4)]
        try:
            for number in range(1, ANSWERED_RELOADS + 1):
                runtimes = configuration(number)
                daemon.write({"runtimes": runtimes, "default-runtime": "restless"})
                report = daemon.reload()
                assert report["outcome"] in ("applied", "unchanged")
                written[report["generation"]] = runtimes
        finally:
            done.set()
    assert sorted(written) == list(range(1, ANSWERED_RELOADS + 2))
    answers = [answer for client in asked for answer in client.result()]
    for _status, name, answer in answers:
        runtimes = written[answer["generation"]]
        assert answer["runtime"] == (name or "restless")
        assert found(daemon, answer) == expected(runtimes, name or "restless"), answer
    assert len({answer["generation"] for *_, answer in answers}) > 1
    wait_until(lambda: len(list(descriptors.iterdir())) <= before, "the clients' descriptors to be closed")


# Unusual and usual names and entries.
HOSTILE = (
    "config.json",
    "manifest.json",
    "..",
    ".",
    "a/b",
    "../x",
    "/etc/passwd",
    "lock",
    "VERSION",
    "x" * 300,
    "~",
    "%2f",
    "-",
)
NAME = st.one_of(
    st.sampled_from(("a", "b", "A", *HOSTILE)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12),
).filter(lambda name: name != "runc")
WORD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
PLAIN_ENTRY = st.one_of(
    st.builds(
        lambda path, args: {"path": path, "runtimeArgs": args}, st.sampled_from(("/x", "y")), st.lists(WORD, max_size=3)
    ),
    st.builds(lambda kind: {"runtimeType": kind}, st.sampled_from(("io.containerd.kata.v2", "io.containerd.runsc.v1"))),
    st.builds(lambda path: {"runtimeType": "k", "options": {"ConfigPath": path}}, WORD),
)
ENGINES: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(("docker", "containerd")),
    st.dictionaries(WORD, st.sampled_from((1, True, 1.0, None, "x", [{"y": None}], {})), max_size=2),
    max_size=2,
)
ENTRY = st.one_of(PLAIN_ENTRY, st.builds(lambda entry, engines: {**entry, "engines": engines}, PLAIN_ENTRY, ENGINES))
RUNTIMES = st.dictionaries(NAME, ENTRY, max_size=4)
DRIVER = st.sampled_from(
    ({}, {"exec-opts": ["native.cgroupdriver=systemd"]}, {"exec-opts": ["native.cgroupdriver=cgroupfs"]})
)


@st.composite
def _valid(draw: st.DrawFn) -> list[str]:
    """Draw a main file and up to two drop-ins that are right together."""
    tables = draw(st.lists(RUNTIMES, min_size=1, max_size=3))
    main: dict[str, Any] = {"runtimes": tables[0], **draw(DRIVER)}
    if names := sorted({name for table in tables for name in table}):
        main |= draw(st.sampled_from(({}, {"default-runtime": names[0]})))
    return [json.dumps(main), *(json.dumps({"runtimes": table}) for table in tables[1:])]


INVALID = st.sampled_from(
    (
        *("", "[]", "{", '{"runtimes": 7}', '{"runtmes": {}}', '{"default-runtime": "nowhere"}', '{"a": NaN}'),
        *('{"runtimes": {"w": {}}}', '{"runtimes": {"runc": {"path": "/x"}}}', '{"runtimes": {}, "runtimes": {}}'),
        *('{"runtimes": {"w": {"path": "/x", "runtimeType": "y"}}}', '{"runtimes": {"": {"path": "/x"}}}'),
    )
)
VALID = _valid()
BROKEN = st.builds(lambda documents, text: [*documents, text], VALID, INVALID)
STEPS = st.lists(st.one_of(st.tuples(st.just(True), VALID), st.tuples(st.just(False), BROKEN)), min_size=1, max_size=6)

PATH = "/etc/runtimed/daemon.json"
DEFAULTS = Settings(data_root="/data", exec_root="/run/runtimed", hosts=("unix:///run/runtimed/runtimed.sock",))
# The data root that answers name; the store lies somewhere else, so that two of them give the same answers.
HOST = Host(Facts(cgroup2=True, systemd=False, ramdisk=False), DEFAULTS.data_root, DEFAULTS.exec_root)


async def in_place(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)


async def find_none(_generation: Generation) -> tuple[()]:
    return ()


class Everything(NoProofs):
    """A host on which every binary is available, trusted and not probed."""

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        return look_up_each(self.look_up, files)

    def look_up(self, path: str) -> str:
        return path

    def replaceable(self, _binary: str) -> None:
        return None

    def features(self, _binary: str) -> Features:
        return PENDING

    def drift(self, _binary: str) -> None:
        return None


class WiredReloader:
    """A reloader and a store as the daemon wires them, on documents that a test sets."""

    def __init__(self, root: str, documents: list[str], planner: Callable[..., Plan] = plan) -> None:
        self.store = Store(root)
        self.exec_root = Path(root).parents[1] / f"run-{Path(root).name}"
        self.write(documents)
        self.reloader = Reloader(
            BootContext(PATH, Flags(), DEFAULTS, HOST, DEFAULTS),
            read=self.read,
            disk=StoreWithTableFile(self.store, TableFile(str(self.exec_root), 0o600, os.getegid())),
            run_blocking=in_place,
            on_begin=lambda: None,
            on_report=lambda _report, _generation: None,
            on_repair=lambda _report, _generation: None,
            find_unavailable=find_none,
            find_kept=find_none,
            planner=planner,
        )

    def write(self, texts: list[str]) -> None:
        main, *dropins = (Source(f"{PATH}{number or ''}", text.encode()) for number, text in enumerate(texts))
        self.documents = Documents(PATH, main, tuple(dropins))

    async def read(self) -> Documents:
        return self.documents

    def start(self) -> Awaitable[object]:
        recovered = self.store.open(rebuild_scripts)
        return self.reloader.start(self.documents, recovered.last, recovered.config_text, published=recovered.published)

    def table(self) -> dict[str, Any]:
        """Return everything that a client can request, except the number of the generation."""
        generation = self.reloader.current
        answers = {name: runtime.answer.at(0) for name, runtime in generation.runtimes.items()}
        described = describe_table(generation, Everything())
        table = [{key: value for key, value in runtime.items() if key != "generation"} for runtime in described]
        return {"answers": answers, "default": generation.config.default_runtime, "table": table}

    def shows_the_current_generation(self) -> bool:
        """Return whether the table file has every answer of the current generation, and no other."""
        generation = self.reloader.current
        found = json.loads((self.exec_root / "table.json").read_bytes())
        answers = {
            name: json.loads(runtime.answer.at(generation.number)) for name, runtime in generation.runtimes.items()
        }
        return bool((found["generation"], found["runtimes"]) == (generation.number, answers))

    def published(self) -> dict[str, bytes]:
        """Return the texts of the current generation's wrappers on disk, by link."""
        root = Path(self.store.root)
        links = {w.link: w for w in self.reloader.current.wrappers}
        return {link: (root / "runtimes" / link).read_bytes() for link in links}


@pytest.mark.timeout(300)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
@example(
    steps=[
        (True, ['{"runtimes": {"a": {"path": "/x", "runtimeArgs": ["1"]}, "A": {"path": "/x", "runtimeArgs": ["1"]}}}'])
    ]
)
@example(steps=[(True, [json.dumps({"runtimes": {n: {"path": "/x", "runtimeArgs": [n]} for n in HOSTILE}})])])
def test_reloading_gives_the_same_table_as_a_fresh_start_with_the_last_valid_files(
    steps: list[tuple[bool, list[str]]],
) -> None:
    asyncio.run(reload_and_compare(steps))


async def reload_and_compare(steps: list[tuple[bool, list[str]]]) -> None:
    with TemporaryDirectory() as directory:
        outside = Path(directory) / "outside"
        roots = [Path(directory) / "outside" / name for name in ("reloaded", "fresh", "again")]
        for root in roots:
            root.mkdir(parents=True, mode=0o700)
        reloaded = WiredReloader(str(roots[0]), ["{}"])
        await reloaded.start()
        last_valid = ["{}"]
        number = reloaded.reloader.current.number
        for is_valid, documents in steps:
            reloaded.write(documents)
            before = reloaded.table()
            report = await reloaded.reloader.reload(Trigger(("test",)))
            assert (report.outcome != "rejected") == is_valid, report
            assert report.generation == reloaded.reloader.current.number >= number
            assert reloaded.shows_the_current_generation()
            number = report.generation
            if is_valid:
                last_valid = documents
            else:
                assert reloaded.table() == before
                assert not reloaded.store.next_number > number + 1
        fresh = WiredReloader(str(roots[1]), last_valid)
        await fresh.start()
        assert reloaded.table() == fresh.table()
        assert reloaded.published() == fresh.published()
        for node in (reloaded, fresh):
            assert len(node.published()) == len(list(node.reloader.current.wrappers)), "two names in one file"
            node.store.close()
        # A restart finds the generation on disk under its number.
        again = WiredReloader(str(roots[0]), last_valid)
        await again.start()
        assert again.table() == fresh.table()
        assert again.reloader.current.number == number
        assert again.shows_the_current_generation()
        again.store.close()
        assert sorted(os.listdir(outside)) == ["again", "fresh", "reloaded"], "nothing was written beside the data root"
        assert set(os.listdir(roots[0])) <= {"VERSION", "lock", "runtimes", "generations", "links", "parts", "wrappers"}
        assert os.listdir(roots[2]) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_a_real_daemon_that_was_reloaded_answers_like_one_that_was_just_started(
    daemon: RunningDaemon, seed: int
) -> None:
    chance = random.Random(seed)
    daemon.write({})
    daemon.start()
    for number in range(8):
        good = {"runtimes": configuration(100 * seed + number)}
        daemon.write(chance.choice([good, "{", '{"runtimes": {"x": {}}}']))
        put(daemon.dropins / "a.json", chance.choice([{}, {"runtimes": configuration(number + 7)}, {"bad": 1}]))
        daemon.reload()
    daemon.write({"runtimes": configuration(seed)} | {"default-runtime": "typed"})
    put(daemon.dropins / "a.json", {"runtimes": {"late": {"path": "/bin/echo", "runtimeArgs": ["late"]}}})
    daemon.reload()
    reloaded = everything(daemon)
    daemon.stop()
    shutil.rmtree(daemon.data)
    daemon.start()
    assert everything(daemon) == reloaded
    assert daemon.stop() == 0


def everything(daemon: RunningDaemon) -> object:
    """Return the whole table and every resolution, without numbers of generations."""
    table = daemon.table()
    answers = [daemon.resolve(runtime["name"]) for runtime in table["runtimes"]]
    return json.loads(re.sub(r'"generation": \d+', '"generation": 0', json.dumps([table, answers])))
