"""Lookups on real files and in real threads, and the time until a change is noticed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest
from harness.daemon import PATIENCE_S
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtimed.core.errors import BinaryUnavailable
from runtimed.host.directory_pool import DirectoryPool
from runtimed.inspection.binaries import NodeInspector
from runtimed.inspection.lookups import LOOK_VALID_S, Lookup, Lookups


class BinaryDirectory:
    """A directory of binaries, and the lookups of them, which count as hanging after ``timeout_s``."""

    def __init__(self, root: Path, timeout_s: float = PATIENCE_S) -> None:
        self.root = root
        self.looks = 0
        self.hanging = threading.Event()
        self.released = threading.Event()
        self._inspector = NodeInspector(str(root), lambda _binary, _features: None)
        self.workers = DirectoryPool("test", timeout_s)
        self.lookups = Lookups(self.look_up, self.workers)

    def look_up(self, path: str) -> str:
        self.looks += 1
        if self.hanging.is_set() and "hangs" in path:
            self.released.wait()
        return self._inspector.look_up(path)

    def path(self, name: str) -> str:
        return str(self.root / name)

    def put(self, name: str) -> str:
        path = self.root / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    def of(self, *files: str) -> Lookup:
        return self.lookups.of(files)

    def stop(self) -> None:
        self.released.set()
        self.lookups.close()
        self.workers.close()
        self._inspector.stop()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[BinaryDirectory]:
    node = BinaryDirectory(tmp_path)
    yield node
    node.stop()


async def usable(lookup: Lookup) -> bool:
    """Return whether a request finds the files usable: by the last look if it is recent, else by another."""
    return monotonic() < lookup.usable_s or await lookup.wait() is None


async def test_all_files_of_a_lookup_have_to_be_executable(node: BinaryDirectory) -> None:
    one, two = node.put("one"), node.path("two")
    error = await node.of(one, two).wait()
    assert error is not None
    assert error.path == two
    node.put("two")
    assert await node.of(one, two).wait() is None
    assert await node.of("one").wait() is None


async def test_a_verdict_is_used_for_ten_milliseconds_and_no_longer(node: BinaryDirectory) -> None:
    lookup = node.of(node.put("x"))
    before_s = monotonic()
    await lookup.wait()
    assert before_s < lookup.usable_s - LOOK_VALID_S < monotonic()
    assert before_s < lookup.renew_s < lookup.usable_s
    absent = node.of(node.path("absent"))
    before_s = monotonic()
    assert await absent.wait() is not None
    assert absent.usable_s < before_s
    assert absent.error(monotonic() + LOOK_VALID_S) is None
    assert isinstance(absent.error(before_s), BinaryUnavailable)


async def test_requests_for_the_same_files_share_one_look(node: BinaryDirectory) -> None:
    path = node.put("x")
    lookup = node.of(path)
    assert node.of(path) is lookup
    await asyncio.gather(*(lookup.wait() for _ in range(100)))
    # The machine may stand still between two requests for longer than a look is valid.
    assert 1 <= node.looks < 10


async def test_a_lookup_without_files_needs_no_look(node: BinaryDirectory) -> None:
    lookup = node.of()
    await lookup.wait()
    assert monotonic() < lookup.usable_s == lookup.renew_s
    assert lookup.error(monotonic()) is None
    assert node.looks == 0


async def test_renewal_starts_a_look_without_waiting(node: BinaryDirectory) -> None:
    lookup = node.of(node.put("x"))
    await lookup.wait()
    until_s = lookup.usable_s
    lookup.renew()
    lookup.renew()
    assert lookup.renew_s == until_s, "no further look is wanted before then"
    while lookup.usable_s == until_s:
        await asyncio.sleep(0)
    assert node.looks == 2


async def test_a_cancelled_request_does_not_end_the_look_of_others(node: BinaryDirectory) -> None:
    lookup = node.of(node.put("x"))
    first, second = asyncio.create_task(lookup.wait()), asyncio.create_task(lookup.wait())
    await asyncio.sleep(0)
    first.cancel()
    await second


async def test_a_look_that_hangs_is_reported_in_time_and_does_not_delay_others(tmp_path: Path) -> None:
    node = BinaryDirectory(tmp_path, timeout_s=0.2)
    try:
        await reported_in_time(node)
    finally:
        node.stop()


async def reported_in_time(node: BinaryDirectory) -> None:
    hangs, other = node.of(node.put("hangs")), node.of(node.put("other"))
    name = node.of("hangs")
    node.hanging.set()
    waiting = [asyncio.create_task(hangs.wait()) for _ in range(10)]
    await asyncio.sleep(0)
    # In one directory a look that hangs delays the next one until it counts as hanging.
    await other.wait()
    for error in await asyncio.gather(*waiting):
        assert "does not answer" in str(error)
    begun_s = monotonic()
    for _ in range(100):
        assert "does not answer" in str(await hangs.wait())
    assert monotonic() - begun_s < 10, "with a wait for each it takes 20 s"
    assert "does not answer" in str(await name.wait())
    assert len([thread for thread in threading.enumerate() if thread.name == "test"]) < 6
    node.released.set()
    while not await usable(hangs):
        await asyncio.sleep(0.01)


def change(node: BinaryDirectory, name: str, step: str) -> bool | None:
    """Do ``step``; return whether the file can be executed now, None where that did not change."""
    path = node.root / name
    match step:
        case "put":
            node.put(name)
            return True
        case "chmod" if path.exists():
            path.chmod(0o600)
            return False
        case "remove":
            path.unlink(missing_ok=True)
            return False
    return None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["remove", "put", "chmod", "rest"])), max_size=12)
)
def test_a_file_that_disappears_or_returns_is_noticed_by_each_request_ten_milliseconds_later(
    tmp_path: Path, steps: list[tuple[str, str]]
) -> None:
    async def run() -> None:
        node = BinaryDirectory(tmp_path)
        try:
            expected = dict.fromkeys("abc", True)
            lookups = {name: node.of(node.put(name)) for name in expected}
            for name, step in steps:
                await asyncio.sleep(0.003)
                changed = change(node, name, step)
                expected[name] = expected[name] if changed is None else changed
                changed_s = asked_s = monotonic()
                # Requests renew the lookup, as `Resolutions` does.
                while await usable(lookups[name]) != expected[name]:
                    assert asked_s - changed_s <= LOOK_VALID_S
                    if monotonic() >= lookups[name].renew_s:
                        lookups[name].renew()
                    await asyncio.sleep(0)
                    asked_s = monotonic()
        finally:
            node.stop()

    asyncio.run(run())


async def test_a_look_that_began_long_before_a_request_is_followed_by_another(node: BinaryDirectory) -> None:
    (node.root / "elsewhere").mkdir()
    gone, slow = node.put("gone"), node.put("elsewhere/hangs")
    lookup = node.of(gone, slow)
    node.hanging.set()
    lookup.renew()
    await asyncio.sleep(0.05)
    (node.root / "gone").unlink()
    request = asyncio.create_task(lookup.wait())
    await asyncio.sleep(0.02)
    node.hanging.clear()
    node.released.set()
    error = await request
    assert error is not None
    assert error.path == gone
