"""Loads a Unix socket by h2load, on the processor of this process, bounded in time and number."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path


def _h2load(socket: str, target: str, *options: str) -> str:
    if shutil.which("h2load") is None:
        raise AssertionError("h2load is missing; Debian's nghttp2-client has it")
    command = ["h2load", "--h1", "-t", "1", f"--base-uri=unix:{socket}", *options, target]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    if failed is None or any(int(count) for count in failed.groups()):
        raise AssertionError(f"requests failed:\n{output}")
    return output


def requests_per_s(socket: str, target: str, connections: int, duration_s: float) -> float:
    """Return how many requests a second are answered on so many connections at once, after a warm-up."""
    # h2load takes whole seconds or milliseconds.
    duration = f"--duration={int(duration_s * 1000)}ms"
    output = _h2load(socket, target, f"--clients={connections}", duration, "--warm-up-time=100ms")
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", output)
    if rate is None:
        raise AssertionError(f"h2load does not say how many:\n{output}")
    return float(rate[1])


def latencies_us(socket: str, target: str, connections: int, requests: int) -> list[int]:
    """Return how long each of so many requests took, in microseconds, in ascending order; the first tenth left out."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "requests"
        _h2load(socket, target, f"--clients={connections}", f"--requests={requests}", f"--log-file={file}")
        rows = [line.split("\t") for line in file.read_text().splitlines()]
    return sorted(int(row[2]) for row in rows[len(rows) // 10 :])


def percentile(ascending: list[int], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    return float(ascending[min(len(ascending) - 1, int(len(ascending) * share))])
