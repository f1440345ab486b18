"""Looking for what refers to wrappers on a node that is not in order: whatever cannot be known keeps every wrapper.

The grace time is 0 here, so two reference scans that took a fault for an answer would collect at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path

import grpc
import pytest
from e2e.harness.containerd import RUNC_OPTIONS, SHIM
from e2e.harness.hanging import hanging_directory
from e2e.harness.node import Collected, ContainerdNode, new_node
from harness.daemon import PATIENCE_S, new_daemon, paused, wait_until

from runtimed.core.containerd.api import new_message
from runtimed.core.containerd.options import RUNC, encode_options, make_options
from runtimed.core.table.wrapper import make_wrapper

# Root without the right to pass over the modes of files.
WITHOUT_DAC = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
# Bounds on a failing test, not measures of speed: nearly all take less than 1 ms, and a look that held up answers would
# do so for 30 to 60 s, or for all of its time, in which there would be few. A busy machine may hold up some of them for
# its own reasons.
LATENCY_MOST_OF_THEM_MS = 250.0
LATENCY_LONGEST_MS = 20_000.0
RESOLUTIONS_LEAST = 50
# What a reload would take that waits for a containerd or a file system that hangs.
RELOAD_MOST_MS = 20_000
pytestmark = pytest.mark.timeout(600)


def old_wrapper(node: ContainerdNode, name: str, path: str = "/usr/sbin/runc") -> Path:
    """Put a wrapper where it would lie if every generation that named it were long gone."""
    # Its name tells it from those of other nodes: this machine has one /proc, and other tests may run.
    made = make_wrapper(f"{name}-{node.daemon.root.name}".lower(), path, ("--debug",))
    node.wrappers.mkdir(exist_ok=True)
    file = node.wrappers / made.file
    file.write_bytes(made.text)
    file.chmod(0o700)
    return file


def options(node: ContainerdNode, wrapper: Path) -> bytes:
    return encode_options(
        make_options(RUNC, {"binary_name": str(wrapper), "root": f"{node.daemon.root}/run/runtime-runc"})
    )


def run(node: ContainerdNode, wrapper: Path) -> str:
    return node.containerd.run(RUNC_OPTIONS, options(node, wrapper))


def started(node: ContainerdNode) -> ContainerdNode:
    node.write({})
    node.daemon.start()
    return node


@pytest.fixture(scope="module")
def node() -> Iterator[ContainerdNode]:
    assert shutil.which("setpriv"), "install util-linux"
    with new_node(WITHOUT_DAC, grace="0s") as node:
        yield started(node)


class Used:
    """Wrappers on a node: of a running container, of one that has no task, and one that nothing needs."""

    def __init__(self, node: ContainerdNode) -> None:
        self.node = node
        self.running_file, self.stopped_file = old_wrapper(node, "running"), old_wrapper(node, "stopped")
        self.running, self.stopped = run(node, self.running_file), run(node, self.stopped_file)
        node.containerd.kill(self.stopped)
        node.containerd.delete_task(self.stopped)
        self.spare_file = old_wrapper(node, "spare")

    @property
    def bundle(self) -> Path:
        return self.node.containerd.tasks / "default" / self.running

    def remove(self) -> None:
        """See that both containers do all they should, and remove them."""
        self.node.containerd.exec(self.running, "/bin/true")
        self.node.containerd.start_task(self.stopped)
        self.node.containerd.exec(self.stopped, "/bin/true")
        for identifier in (self.running, self.stopped):
            self.node.containerd.remove(identifier)


@pytest.fixture
def used(node: ContainerdNode) -> Iterator[Used]:
    used = Used(node)
    yield used
    used.remove()
    looked(node)
    see_files(node, set())


def see_files(node: ContainerdNode, expected: set[str]) -> None:
    """See that all other wrappers are collected, by looks that find no process any more that was started by one."""
    wait_until(lambda: node.collect() and node.files() == expected, f"{expected} alone")


def looked(node: ContainerdNode) -> Collected:
    """Return the answer of a collection after two reference scans in a row that found everything known."""

    def look() -> Collected | None:
        found = node.collect()
        return None if found.unknown else found

    # Shims of other tests may be in the midst of something; what is not known of them counts as well.
    found = wait_until(lambda: look() and look(), "everything to be known twice", 3 * PATIENCE_S)
    assert isinstance(found, Collected)
    return found


Fault = Callable[[Used], AbstractContextManager[object]]


def unreadable(place: Callable[[Used], Path]) -> Fault:
    @contextlib.contextmanager
    def fault(used: Used) -> Iterator[None]:
        path = place(used)
        mode = path.stat().st_mode & 0o7777
        path.chmod(0)
        try:
            yield
        finally:
            path.chmod(mode)

    return fault


def replaced(place: Callable[[Used], Path], make: Callable[[Path], object] = lambda _path: None) -> Fault:
    @contextlib.contextmanager
    def fault(used: Used) -> Iterator[None]:
        path = place(used)
        aside = path.with_name(f"{path.name}.aside")
        path.rename(aside)
        try:
            make(path)
            yield
        finally:
            path.unlink(missing_ok=True)
            aside.rename(path)

    return fault


def down(number: int, *more: Fault) -> Fault:
    @contextlib.contextmanager
    def fault(used: Used) -> Iterator[None]:
        containerd = used.node.containerd
        containerd.stop(number)
        try:
            with contextlib.ExitStack() as stack:
                for one in more:
                    stack.enter_context(one(used))
                yield
        finally:
            containerd.start()

    return fault


def tasks(used: Used) -> Path:
    return used.node.containerd.tasks


def state(used: Used) -> Path:
    return used.node.containerd.state


def address(used: Used) -> Path:
    return Path(used.node.containerd.address)


def memory(used: Used) -> Path:
    return used.node.containerd.root / "root"


def bundle_file(name: str) -> Callable[[Used], Path]:
    return lambda used: used.bundle / name


FAULTS: dict[str, Fault] = {
    "state directory unreadable": unreadable(state),
    "tasks unreadable": unreadable(tasks),
    "namespace unreadable": unreadable(lambda used: tasks(used) / "default"),
    "bundle unreadable": unreadable(lambda used: used.bundle),
    "options of a bundle unreadable": unreadable(bundle_file("options.json")),
    "runtime of a bundle unreadable": unreadable(bundle_file("runtime")),
    "pipe for a bundle's options": replaced(bundle_file("options.json"), os.mkfifo),
    "pipe for a bundle's runtime": replaced(bundle_file("runtime"), os.mkfifo),
    "link for a bundle's options": replaced(bundle_file("options.json"), lambda path: path.symlink_to("nothing")),
    "half a bundle's options": replaced(bundle_file("options.json"), lambda path: path.write_text('{"binary_na')),
    "empty bundle's options": replaced(bundle_file("options.json"), lambda path: path.touch()),
    "no tasks": replaced(tasks),
    "pipe for the tasks": replaced(tasks, os.mkfifo),
    "no state directory": replaced(state),
    "no socket": replaced(address),
    "pipe for the socket": replaced(address, os.mkfifo),
    "file for the socket": replaced(address, lambda path: path.touch()),
    "containerd stopped": down(signal.SIGTERM),
    "containerd killed": down(signal.SIGKILL),
    "containerd killed, no tasks": down(signal.SIGKILL, replaced(tasks)),
    # As after a reboot, before containerd is up. Stopped, it has removed its socket.
    "nothing but containerd's memory": down(signal.SIGTERM, replaced(state)),
    "nothing but a killed containerd's memory": down(signal.SIGKILL, replaced(state), replaced(address)),
    "nothing but memory that is unreadable": down(signal.SIGTERM, replaced(state), unreadable(memory)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_looked_at_keeps_every_wrapper_and_says_so(used: Used, name: str) -> None:
    node = used.node
    with FAULTS[name](used):
        for _ in range(2):
            found = node.collect()
            assert found.unknown
            assert {verdict for verdict, _ in found.verdicts.values()} == {"keep"}
            reason = found.verdicts[used.spare_file.name][1]
            assert reason == f"it cannot be known whether something refers to it: {found.unknown[0]}"
            assert str(node.containerd.root) in reason, "it says what could not be looked at"
        assert node.daemon.resolve("runc")
    looked(node)
    see_files(node, {used.running_file.name, used.stopped_file.name})
    expected = {
        used.running_file.name: ("keep", f"container default/{used.running} (task) refers to it"),
        used.stopped_file.name: ("keep", f"container default/{used.stopped} (stopped) refers to it"),
    }
    # A containerd that has just been started may be executing a wrapper.
    wait_until(lambda: node.collect().verdicts == expected, f"{expected}: {node.collect()}")


def test_where_no_containerd_ever_was_only_what_nothing_needs_is_collected() -> None:
    with new_daemon() as daemon:
        nowhere = daemon.root / "nowhere"
        engine = {"address": f"{nowhere}/c.sock", "state": f"{nowhere}/state"}
        table = {"w": {"path": "/usr/sbin/runc", "runtimeArgs": ["--debug"]}}

        def configure(**engine: str) -> None:
            daemon.write({"runtimed": {"grace": 0, "containerd": [engine]}, "runtimes": table})
            daemon.reload()

        def verdicts() -> dict[str, str]:
            # The first reference scan begins the grace time, the second ends it.
            daemon.ask("POST", "/v1/gc?dry_run=true")
            answer = daemon.ask("POST", "/v1/gc")[1]
            return {one["file"].partition("-")[0]: one["verdict"] for one in answer["wrappers"]}

        daemon.write({"runtimes": table})
        daemon.start()
        spare = make_wrapper("spare", "/usr/sbin/runc", ("--debug",))
        (daemon.data / "wrappers" / spare.file).write_bytes(spare.text)
        # Where it keeps its memory is not known, so that there is none is not known either.
        configure(**engine)
        assert verdicts() == {"w": "keep", "spare": "keep"}
        configure(**engine, root=f"{nowhere}/root")
        # Shims of other tests may be in the midst of something.
        wait_until(lambda: verdicts() == {"w": "keep", "spare": "collected"}, "the end of the spare wrapper")
        assert verdicts() == {"w": "keep"}
        assert daemon.stop() == 0


def test_without_grpc_nothing_is_known_and_nothing_collected() -> None:
    with new_node(grace="0s") as node:
        (node.daemon.root / "shadow").mkdir()
        (node.daemon.root / "shadow/grpc.py").write_text("raise ImportError('none here')")
        node.daemon.environ["PYTHONPATH"] = str(node.daemon.root / "shadow")
        started(node)
        used = Used(node)
        found = node.collect()
        assert {verdict for verdict, _ in found.verdicts.values()} == {"keep"}
        assert "pip install 'runtimed[containerd]'" in found.unknown[0]
        used.remove()


@contextlib.contextmanager
def repeated(action: Callable[[], object]) -> Iterator[list[int]]:
    """Do ``action`` again and again meanwhile; yield how often it was done, as the list's only item."""
    stop, count = threading.Event(), [0]

    def repeat() -> None:
        while not stop.is_set():
            action()
            count[0] += 1

    with ThreadPoolExecutor(1) as pool:
        repeating = pool.submit(repeat)
        try:
            yield count
        finally:
            stop.set()
            repeating.result()


def test_a_containerd_restart_at_any_moment_of_a_scan_loses_no_wrapper(node: ContainerdNode, used: Used) -> None:
    begun_s = time.monotonic()
    looked(node)
    looks_s = time.monotonic() - begun_s

    def kill_and_start() -> None:
        node.containerd.stop(signal.SIGKILL)
        node.containerd.start()
        # Long enough for some looks to find it running all the time.
        time.sleep(random.uniform(0, looks_s))

    known = unknown = 0
    with repeated(kill_and_start) as kills:
        until = time.monotonic() + 4
        while time.monotonic() < until or not (known and unknown):
            assert time.monotonic() < until + PATIENCE_S
            found = node.collect()
            for file in (used.running_file, used.stopped_file):
                assert found.verdicts[file.name][0] == "keep"
            known, unknown = known + (not found.unknown), unknown + bool(found.unknown)
    print(f"{kills[0]} kills, {known + unknown} looks, {unknown} of them in vain")  # noqa: T201


def test_containers_that_come_and_go_during_a_look_cost_no_other_its_wrapper(node: ContainerdNode, used: Used) -> None:
    passing = old_wrapper(node, "passing")
    looks = 0
    with repeated(lambda: node.containerd.remove(run(node, used.running_file))) as rounds:
        until = time.monotonic() + 3
        # What nothing needs goes all the same.
        while time.monotonic() < until or rounds[0] < 3 or passing.exists():
            assert time.monotonic() < until + PATIENCE_S
            found = node.collect()
            looks += 1
            for file in (used.running_file, used.stopped_file):
                assert found.verdicts[file.name][0] == "keep"
    print(f"{rounds[0]} containers, {looks} looks")  # noqa: T201


def test_bundles_that_vanish_in_the_midst_of_a_look_are_not_taken_for_gone(node: ContainerdNode, used: Used) -> None:
    # Nothing but its bundle knows this one, among many; the whole directory vanishes, and is there again. A look in
    # between finds nothing, and is not enough: the grace begins with it, and ends with the next one.
    grace_s = 1
    node.own["grace"] = f"{grace_s}s"
    node.configure({})
    ghost = old_wrapper(node, "ghost")
    fake_bundles(node, 300, ghost)
    aside = node.containerd.tasks.with_name("aside")

    def vanish() -> None:
        node.containerd.tasks.rename(aside)
        time.sleep(0.002)
        aside.rename(node.containerd.tasks)
        # Long enough for some looks to see all of it.
        time.sleep(random.uniform(0, 0.05))

    known = unknown = 0
    # The begin of the first of the last looks that found nothing.
    nothing_since_s: float | None = None
    with repeated(vanish) as times:
        until = time.monotonic() + 4
        while time.monotonic() < until or not (known and unknown):
            begun_s = time.monotonic()
            assert begun_s < until + PATIENCE_S
            found = node.collect()
            verdict, reason = found.verdicts[ghost.name]
            if verdict != "keep":
                # On a busy machine the directory may be away for as long as that, or at each look.
                assert nothing_since_s is not None, (known, unknown, times)
                assert time.monotonic() - nothing_since_s >= grace_s, (known, unknown, times)
                old_wrapper(node, "ghost")
            is_nothing = reason.startswith("nothing refers to it")
            nothing_since_s = (nothing_since_s or begun_s) if is_nothing else None
            known, unknown = known + (not found.unknown), unknown + bool(found.unknown)
    print(f"vanished {times[0]} times, {known + unknown} looks, {unknown} of them in vain")  # noqa: T201
    shutil.rmtree(node.containerd.tasks / "fake")
    node.own["grace"] = "0s"
    node.configure({})


def fake_bundles(node: ContainerdNode, number: int, wrapper: Path, namespace: str = "fake") -> None:
    """Make bundles as shims leave them, of containers that containerd does not know."""
    for one in range(number):
        directory = node.containerd.tasks / namespace / f"{namespace}{one:05d}"
        directory.mkdir(parents=True)
        (directory / "runtime").write_text(str(wrapper))
        (directory / "options.json").write_text(json.dumps({"binary_name": str(wrapper)}))
        (directory / "shim-binary-path").write_text("/usr/bin/containerd-shim-runc-v2")


def told(what: str, latencies_ms: list[float]) -> None:
    ordered = sorted(latencies_ms)
    median, p90 = statistics.median(ordered), ordered[int(len(ordered) * 0.9)]
    print(f"{what}: {len(ordered)} resolutions, median {median:.2f} ms, 90 % {p90:.2f} ms, most {ordered[-1]:.2f} ms")  # noqa: T201
    assert len(ordered) >= RESOLUTIONS_LEAST
    assert p90 < LATENCY_MOST_OF_THEM_MS
    assert ordered[-1] < LATENCY_LONGEST_MS


def test_a_containerd_that_hangs_holds_up_no_answer_and_no_reload(node: ContainerdNode, used: Used) -> None:
    assert node.containerd.process is not None
    with ThreadPoolExecutor(2) as pool:
        with paused(node.containerd.process.pid):
            collecting = pool.submit(node.collect)
            told("containerd hangs", node.latencies_ms(pool.submit(time.sleep, 3), RESOLUTIONS_LEAST))
            assert node.configure({"new": {"runtimeType": "io.containerd.runc.v2"}})["duration_ms"] < RELOAD_MOST_MS
            assert node.daemon.resolve("new")
            assert not collecting.done()
        found = collecting.result()
    for file in (used.running_file, used.stopped_file):
        assert found.verdicts[file.name][0] == "keep"


def test_a_hanging_state_directory_delays_no_answer_and_keeps_every_wrapper() -> None:
    with new_node(grace="0s") as node:
        hanging = node.daemon.root / "hanging"
        engine = {**node.own["containerd"][0], "state": str(hanging / "state")}
        with hanging_directory(hanging) as end, ThreadPoolExecutor(2) as pool:
            node.own["containerd"] = [engine]
            started(node)
            used = Used(node)
            collecting = pool.submit(node.collect)
            told("file system hangs", node.latencies_ms(collecting))
            found = collecting.result()
            assert found.unknown == ["the reference scan took longer than 60 s"]
            assert {verdict for verdict, _ in found.verdicts.values()} == {"keep"}
            report = node.configure({"new": {"path": "/usr/bin/crun", "runtimeArgs": ["x"]}})
            assert report["duration_ms"] < RELOAD_MOST_MS
            assert node.daemon.get("/healthz")[0] == 200
            # The next look waits behind the one that hangs; when that comes back, it comes to an end as well.
            collecting = pool.submit(node.collect)
            told("file system hangs on", node.latencies_ms(pool.submit(time.sleep, 1), RESOLUTIONS_LEAST))
            assert not collecting.done()
            end()
            found = collecting.result()
            assert {verdict for verdict, _ in found.verdicts.values()} == {"keep"}
            assert str(hanging) in found.unknown[0]
            assert used.spare_file.exists()
        used.remove()


def test_a_daemon_whose_look_hangs_stops_all_the_same() -> None:
    with new_node(grace="0s") as node:
        started(node)
        assert node.daemon.stop() == 0
        spare = old_wrapper(node, "spare")
        hanging = node.daemon.root / "hanging"
        node.own["containerd"][0]["state"] = str(hanging / "state")
        with hanging_directory(hanging), ThreadPoolExecutor(1) as pool:
            # It looks by itself at the start; whoever asks as well has to wait for that.
            started(node)
            collecting = pool.submit(node.collect)
            time.sleep(0.5)
            assert not collecting.done()
            begun_s = time.monotonic()
            assert node.daemon.stop() == 0
            print(f"stopped in {time.monotonic() - begun_s:.1f} s")  # noqa: T201
            # 5 s are the client's, to finish what was begun; the look would take a minute.
            assert time.monotonic() - begun_s < 40
            assert isinstance(collecting.exception(), (OSError, HTTPException))
        assert spare.exists()


def create_many(node: ContainerdNode, number: int, value: bytes) -> None:
    """Create containers without tasks, over one connection."""
    identifiers = [node.containerd.new_id() for _ in range(number)]
    with grpc.insecure_channel(f"unix://{node.containerd.address}") as channel:
        create = channel.unary_unary("/containerd.services.containers.v1.Containers/Create")

        def one(identifier: str) -> None:
            request = new_message("ContainerMessage")
            request.container.id = identifier
            request.container.runtime.name = SHIM
            request.container.runtime.options.type_url = RUNC_OPTIONS
            request.container.runtime.options.value = value
            request.container.spec.type_url = "example.org/none"
            request.container.spec.value = b"{}"
            header = (("containerd-namespace", "many"),)
            create(request.SerializeToString(), timeout=PATIENCE_S, metadata=header)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, identifiers))


def test_ten_thousand_containers_are_looked_through_without_holding_up_an_answer() -> None:
    with new_node(grace="0s") as node, ThreadPoolExecutor(1) as pool:
        started(node)
        used = Used(node)
        with_task, without_task = old_wrapper(node, "with-task"), old_wrapper(node, "without-task")
        begun_s = time.monotonic()
        create_many(node, 10_000, options(node, without_task))
        print(f"created in {time.monotonic() - begun_s:.1f} s")  # noqa: T201
        fake_bundles(node, 10_000, with_task, "many")
        begun_s = time.monotonic()
        collecting = pool.submit(looked, node)
        told("10,000 containers", node.latencies_ms(collecting))
        found = collecting.result()
        print(f"10,000 containers and 10,000 bundles: looked through in {time.monotonic() - begun_s:.2f} s")  # noqa: T201
        kept = {file for file, (verdict, _) in found.verdicts.items() if verdict == "keep"}
        assert kept == {file.name for file in (with_task, without_task, used.running_file, used.stopped_file)}
        assert found.verdicts[without_task.name][1].endswith("(stopped) refers to it")
        see_files(node, kept)
        shutil.rmtree(node.containerd.tasks / "many")
        used.remove()
        see_files(node, {without_task.name})
        # One by one would take as long as making them.
        node.containerd.stop()
        shutil.rmtree(memory(used))
        node.containerd.start()
        see_files(node, set())
