"""Decides which wrappers may be collected.

A wrapper is needed until all containers that were started with it are gone, so every doubt keeps it: a source of
references that cannot be read, and a grace time that has not passed since this process started.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Collection as Files
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed.core.collection.references import ReferenceScan

if TYPE_CHECKING:
    from runtimed.core import shapes

# The least grace time of a wrapper that a client may have received from this process: the client needs this long to
# create a container, which then refers to the wrapper.
LEAST_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a wrapper file may be collected, and the reason."""

    file: str
    collect: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts on all wrappers."""

    verdicts: tuple[Verdict, ...]
    # File -> the monotonic time in seconds at which the first scan without a reference to it ended.
    unreferenced_since_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Collection:
    """The outcome of a collection."""

    verdicts: tuple[Verdict, ...]
    # The removed files; empty in a dry run.
    collected: tuple[str, ...]
    # The sources of references that could not be read, as messages.
    unknown: tuple[str, ...]
    dry_run: bool

    def as_dict(self) -> shapes.Collection:
        """Return the JSON shape."""
        removed = set(self.collected)
        return {
            "dry_run": self.dry_run,
            "collected": len(self.collected),
            "kept": len(self.verdicts) - len(self.collected),
            "unknown": list(self.unknown),
            "wrappers": [
                {
                    "file": verdict.file,
                    "verdict": "collected" if verdict.file in removed else "collect" if verdict.collect else "keep",
                    "reason": verdict.reason,
                }
                for verdict in self.verdicts
            ],
        }


def judge_wrappers(
    files: Iterable[str],
    held: Mapping[str, int],
    scan: ReferenceScan,
    unreferenced_since_s: Mapping[str, float],
    *,
    handed_out: Files[str],
    begun_s: float,
    now_s: float,
    grace_s: float,
) -> Judgement:
    """Return the verdicts on the wrapper ``files``.

    ``held`` maps files to the newest retained generation that needs them; ``handed_out`` are the files that a client
    may have received from this process; ``unreferenced_since_s`` is that of the last judgement, empty at first.

    At least two scans must find no reference. The grace time lies between the end of the first and the begin of the
    last, ``begun_s``, because a scan may miss a container that is created meanwhile. It starts again after a reference
    or a doubt.
    """
    reason_to_keep = find_reasons(scan)
    since_s: dict[str, float] = {}
    verdicts = []
    for file in sorted(files):
        collect = False
        if file in held:
            reason = f"generation {held[file]} names it"
        elif (found := reason_to_keep(file)) is not None:
            reason = found
        else:
            since_s[file] = unreferenced_since_s.get(file, now_s)
            free_s = max(begun_s - since_s[file], 0.0)
            needed_s = max(grace_s, LEAST_GRACE_S) if file in handed_out else grace_s
            collect = file in unreferenced_since_s and free_s >= needed_s
            if collect:
                reason = f"nothing has referred to it for {free_s:.0f} s"
            else:
                reason = f"nothing refers to it, but only for {free_s:.0f} of {needed_s:.0f} s"
        verdicts.append(Verdict(file, collect=collect, reason=reason))
    return Judgement(tuple(verdicts), since_s)


def find_reasons(scan: ReferenceScan) -> Callable[[str], str | None]:
    """Return a function that returns why ``scan`` keeps a wrapper file, None if it does not."""
    # By base name, because a container may refer to the data root through a link or a bind mount. A file of the same
    # name elsewhere keeps a wrapper longer, which is harmless.
    holders = {posixpath.basename(reference.path): reference.holder for reference in scan.references}

    def reason_to_keep(file: str) -> str | None:
        if (holder := holders.get(file) or holders.get(file.rpartition("-")[0])) is not None:
            return f"{holder} refers to it"
        if scan.unknown:
            return f"it cannot be known whether something refers to it: {scan.unknown[0]}"
        return None

    return reason_to_keep
