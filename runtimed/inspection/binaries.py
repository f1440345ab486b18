"""Looks at the node's binaries: where one is, who could replace it, what it says of itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType

from runtimed.core.config import Probe
from runtimed.core.drift import BinaryState
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import Features
from runtimed.core.message_text import printable
from runtimed.core.table.availability import Unavailable, binaries_of, find_unavailable
from runtimed.core.table.generation import Generation
from runtimed.host.binaries import binary_state, look_up
from runtimed.host.directory_pool import DirectoryPool
from runtimed.host.features import Prober, replaceable
from runtimed.host.trust import Trust, walk

_OFF = Features("unknown", reason="asking binaries for their features is turned off (runtimed.probe)")


class NodeInspector:
    """The node's binaries. All of its methods look at the disk, except ``stop``.

    ``search`` is the PATH that binaries are looked for on; ``told`` is called, in a thread, with what a binary said
    of itself, once for each change of it. ``judged`` is called after a look with the binaries that other users
    can replace since then, by path with the reason, and with those that they can replace no longer. ``workers`` are
    the threads in which its looks may hang.
    """

    def __init__(
        self,
        search: str,
        told: Callable[[str, Features], None],
        judged: Callable[[Mapping[str, str], Collection[str]], None] = lambda _come, _gone: None,
    ) -> None:
        self._search = search
        # Asked once: each question costs a system call.
        self._as_root = os.geteuid() == 0
        self._told = told
        self._judged = judged
        # Why other users could replace a binary, by its path, at the last look.
        self._replaceable: Mapping[str, str] = MappingProxyType({})
        self.workers = DirectoryPool("look-ups")
        # Whoever else could replace a binary must not choose what this process executes, whoever it runs as.
        self._walk = partial(walk, trust=Trust(frozenset({0, os.geteuid()})))
        self._settings = Probe(enabled=False)
        self._prober: Prober | None = None

    def look_up(self, path: str) -> str:
        """Return the binary that ``path``, a path or a bare name, leads to.

        Raises:
            BinaryUnavailable: with the reason, also where a probe has learned that the kernel refuses it.
        """
        found = look_up(path, self._search, as_root=self._as_root)
        if (refusal := self._refusal(found)) is not None:
            reason = refusal if found == path else f"{printable(found)}: {refusal}"
            raise BinaryUnavailable(printable(path), reason, refused=True)
        return found

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        """Return what `look_up` returns or raises for each of ``files``. Ends in time also where one of them hangs."""
        return _unavailable(self.workers.call_all(self.look_up, files))

    async def find_unavailable(self, generation: Generation) -> tuple[Unavailable, ...]:
        """Return the runtimes of ``generation`` that cannot be used. Their wrappers are not looked at."""
        binaries = dict.fromkeys(file for runtime in generation.runtimes.values() for file in binaries_of(runtime))
        found = _unavailable(await self.workers.gather(self.look_up, binaries))
        errors = {file: error.reason for file, error in found.items() if isinstance(error, BinaryUnavailable)}
        return find_unavailable(generation, errors)

    def states(self, binaries: Iterable[str]) -> Mapping[str, BinaryState]:
        """Return what is found of each of ``binaries``, paths or bare names."""
        looks = self.workers.call_all(self._look, binaries)
        found = {
            binary: look[0] if isinstance(look, tuple) else BinaryState("unusable", reason=str(look))
            for binary, look in looks.items()
        }
        self._judge({look[0].path: look[1] for look in looks.values() if isinstance(look, tuple) and look[0].path})
        return found

    def replaceable(self, binary: str) -> str | None:
        """Return why somebody else could replace ``binary``, None if nobody could."""
        return replaceable(binary, self._walk)

    def features(self, binary: str) -> Features:
        """Return what ``binary`` says of itself, as far as is known by now."""
        prober = self._prober
        return prober.get(binary) if prober is not None else _OFF

    def probe(self, generation: Generation) -> None:
        """Have the binaries of ``generation`` asked for their features, those that are new or changed.

        As its configuration wants it; with another time-out all of them are asked anew.
        """
        prober = self._take(generation.config.own.probe)
        if prober is None:
            return
        binaries = dict.fromkeys(runtime.binary for runtime in generation.runtimes.values() if runtime.binary)
        # One that is not there may be installed later.
        prober.want(found for found in self.look_up_all(binaries).values() if isinstance(found, str))

    def stop(self) -> None:
        """Kill the probes that run, and end the threads."""
        self.workers.close()
        if (prober := self._prober) is not None:
            prober.stop()

    def _look(self, binary: str) -> tuple[BinaryState, str | None]:
        """Return the state of ``binary``, and why other users could replace it."""
        found = binary_state(binary, self._search, as_root=self._as_root, refusal=self._refusal)
        return found, None if found.path is None else self.replaceable(found.path)

    def _judge(self, reasons: Mapping[str, str | None]) -> None:
        before = self._replaceable
        now = {path: why for path, why in sorted(reasons.items()) if why is not None}
        self._replaceable = MappingProxyType(now)
        come = {path: why for path, why in now.items() if before.get(path) != why}
        # A binary that is gone, or not configured any more, is not trusted for that.
        gone = [path for path in before if path in reasons and path not in now]
        if come or gone:
            self._judged(come, gone)

    def _refusal(self, binary: str) -> str | None:
        prober = self._prober
        return prober.refusal(binary) if prober is not None else None

    def _take(self, settings: Probe) -> Prober | None:
        if settings != self._settings:
            if self._prober is not None:
                self._prober.stop()
            self._settings = settings
            new = Prober(trusted=self.replaceable, told=self._told, timeout_s=settings.timeout_s)
            self._prober = new if settings.enabled else None
        return self._prober


def _unavailable(outcomes: Mapping[str, str | Exception]) -> Mapping[str, str | BinaryUnavailable]:
    """Return ``outcomes`` with one kind of exception."""
    return {
        file: outcome
        if isinstance(outcome, (str, BinaryUnavailable))
        else BinaryUnavailable(printable(file), str(outcome))
        for file, outcome in outcomes.items()
    }
