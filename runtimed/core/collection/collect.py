"""Which wrappers may be collected: the judgement, from what refers to them and for how long nothing has.

A wrapper that a container was started with is needed until the container is gone, so every doubt is a reason
to keep: a source of references that could not be read, a grace time that this process has not watched through.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection as Files
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed.core.collection.references import ReferenceScan

if TYPE_CHECKING:
    from runtimed.core import shapes

# The shortest grace time of a wrapper that this process may have named in an answer, whatever is configured: a client
# needs this long to create a container with the answer, which only then refers to the wrapper.
LEAST_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a wrapper file, and why, in words."""

    file: str
    collect: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on every wrapper, and since when (monotonic, in seconds) nothing refers to those that are free."""

    verdicts: tuple[Verdict, ...]
    unreferenced_since_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Collection:
    """What became of every wrapper: kept or collected, and why."""

    verdicts: tuple[Verdict, ...]
    # Files that are gone now; empty in a dry run.
    collected: tuple[str, ...]
    unknown: tuple[str, ...]
    dry_run: bool

    def as_dict(self) -> shapes.Collection:
        """Return the JSON shape."""
        gone = set(self.collected)
        return {
            "dry_run": self.dry_run,
            "collected": len(gone),
            "kept": len(self.verdicts) - len(gone),
            "unknown": list(self.unknown),
            "wrappers": [
                {
                    "file": verdict.file,
                    "verdict": "collected" if verdict.file in gone else "collect" if verdict.collect else "keep",
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
    """Return which of the wrapper ``files`` may be collected.

    ``held`` maps files to the newest retained generation whose answers name them;
    ``unreferenced_since_s`` is that of the last judgement, empty at first: the grace time begins anew
    with every process, and whenever something refers to the file, or might. ``handed_out`` are the files that this
    process may have named in an answer.

    Two reference scans at least must find no reference, and the grace time lies between the end of the first and
    ``begun_s``, the begin of this one: a container that is created during a scan may escape that scan.
    """
    holders = _holders(scan)
    since_s: dict[str, float] = {}
    verdicts = []
    for file in sorted(files):
        link = file.rpartition("-")[0]
        if file in held:
            reason = f"generation {held[file]} names it"
        elif (holder := holders.get(file) or holders.get(link)) is not None:
            reason = f"{holder} refers to it"
        elif scan.unknown:
            reason = f"it cannot be known whether something refers to it: {scan.unknown[0]}"
        else:
            since_s[file] = unreferenced_since_s.get(file, now_s)
            free_s = max(begun_s - since_s[file], 0.0)
            needed_s = max(grace_s, LEAST_GRACE_S) if file in handed_out else grace_s
            if file in unreferenced_since_s and free_s >= needed_s:
                verdicts.append(Verdict(file, collect=True, reason=f"nothing has referred to it for {free_s:.0f} s"))
                continue
            reason = f"nothing refers to it, but only for {free_s:.0f} of {needed_s:.0f} s"
        verdicts.append(Verdict(file, collect=False, reason=reason))
    return Judgement(tuple(verdicts), since_s)


def _holders(scan: ReferenceScan) -> Mapping[str, str]:
    # By base name: whatever way a container reached the data root (a link, a bind mount), the last part of the path
    # is a wrapper's own name or that of its stable link. A name too many keeps a file too many, which is harmless.
    return {posixpath.basename(reference.path): reference.holder for reference in scan.references}
