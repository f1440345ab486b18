"""Replaced generations are freed by a worker thread, a few runtimes at a time, whatever has been requested before."""

from __future__ import annotations

import sys
from types import FrameType, SimpleNamespace
from typing import Any

from bench.tables import table
from harness.daemon import new_daemon, wait_until

from runtimed.reload.replaced import _SLICE, free_in_slices

COUNT = 30
# The daemon, which logs the thread that frees a runtime, and reads the disk slowly before a probe.
PROGRAM = """
import os, sys, threading, time
from runtimed import __main__
from runtimed.core.table.generation import Runtime
from runtimed.inspection.binaries import NodeInspector

def freed(runtime):
    if runtime.text:
        os.write(2, f"freed {runtime.answer.digest} {threading.current_thread().name}\\n".encode())

Runtime.__del__ = freed
NodeInspector.probe = lambda *_: time.sleep(0.5)
sys.exit(__main__.main())
"""
# The current generation decides the responses, some of which the daemon keeps.
PATHS = ("/v1/status", "/v1.40/info", "/info", "/v1/runtimes", "/v1/containers", "/v1/resolve?runtime=runtime1")


def test_the_event_loop_frees_no_generation() -> None:
    with new_daemon() as daemon:
        daemon.program = ["-c", PROGRAM]
        daemon.write(table(COUNT, 0, all_new=True))
        daemon.start()

        def request_all() -> None:
            for path in PATHS:
                assert daemon.get(path)[0] == 200

        def freeing(count: int) -> set[str]:
            """Return the threads that have freed runtimes, if they have freed ``count`` different ones."""
            # The daemon may just be writing the last line.
            whole, _, _ = daemon.log_file.read_text().rpartition("\n")
            found = [line.split() for line in whole.splitlines() if line.startswith("freed")]
            return {thread for _, _, thread in found} if len({digest for _, digest, _ in found}) >= count else set()

        request_all()
        daemon.write(table(COUNT, 1, all_new=True))
        # Its generation is freed, too.
        daemon.reload("?dry_run=true")
        assert daemon.reload()["generation"] == 2
        request_all()
        daemon.write(table(COUNT, 2, all_new=True))
        assert daemon.reload()["generation"] == 3
        request_all()
        threads = wait_until(lambda: freeing(2 * COUNT), "the replaced generations to be freed")
        # A thread whose look for containers has outlasted the reload would be another.
        assert "working" in threads
        assert not threads & {"MainThread", "probing"}


class Value:
    """A value that counts its end."""

    ended = 0

    def __del__(self) -> None:
        Value.ended += 1


def test_a_slice_is_freed_between_two_lines() -> None:
    tables = [{each: Value() for each in range(1000)} for _ in range(3)]
    config = SimpleNamespace(runtimes=tables[0], origins=tables[1])
    generations: Any = [SimpleNamespace(runtimes=tables[2], config=config)]
    del config, tables
    ended, most, before = Value.ended, 0, sys.gettrace()

    def trace(frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal ended, most
        if frame.f_code is free_in_slices.__code__:
            most, ended = max(most, Value.ended - ended), Value.ended
            return trace
        return None

    first = ended
    sys.settrace(trace)
    try:
        free_in_slices(generations)
    finally:
        sys.settrace(before)
    assert (generations, Value.ended - first) == ([], 3000)
    assert 0 < most <= _SLICE
