"""Measures the disk below a directory: what an fsync of a small file and the creation of 1,000 links take."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.intervals import median_figure
from bench.rows import Row

_LINKS = 1000


def disk_ms(directory: Path) -> Mapping[str, float]:
    """Return how long each of both takes, in milliseconds, after all earlier data was written."""
    place = directory / "disk"
    place.mkdir()
    os.sync()
    begun_s = time.perf_counter()
    with (place / "file").open("wb") as file:
        file.write(b"x" * 1000)
        file.flush()
        os.fsync(file.fileno())
    synced_s = time.perf_counter()
    for number in range(_LINKS):
        os.symlink(f"../target{number}", f"{place}/{number}")
    linked_s = time.perf_counter()
    shutil.rmtree(place)
    return {"fsync": (synced_s - begun_s) * 1000, "links": (linked_s - synced_s) * 1000}


def disk_rows(measured: Sequence[Mapping[str, float]], beside: str) -> Iterator[Row]:
    """Yield what the disk did before and after other measurements."""
    for figure, what in (("fsync", "an fsync of a small file"), ("links", f"creation of {_LINKS} links")):
        values = [each[figure] for each in measured]
        row = Row(f"the disk beside {beside}: {what}", median_figure(values), "ms")
        yield replace(row, note=f"from {min(values):.1f} to {max(values):.1f}")
