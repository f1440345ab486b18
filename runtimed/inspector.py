"""Looking around on the node for those who ask: where a binary is, who could replace it, what it says of itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType

from runtimed.core.config import Probe
from runtimed.core.drift import Sight
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import Features
from runtimed.core.generation import Generation
from runtimed.host.binaries import look_up, sight
from runtimed.host.features import Prober, replaceable
from runtimed.host.trust import Trust, walk

_OFF = Features("unknown", reason="asking binaries for their features is turned off (runtimed.probe)")


class NodeInspector:
    """The node's binaries. All of its methods look at the disk, but for ``stop``.

    ``search`` is the PATH that binaries are looked for on; ``told`` hears, in a thread, what a binary said
    of itself, once for each change of it. ``judged`` is called after a look with the binaries that other users
    can replace since then, by path with the reason, and with those that they can replace no longer.
    """

    def __init__(
        self,
        search: str,
        told: Callable[[str, Features], None],
        judged: Callable[[Mapping[str, str], Collection[str]], None] = lambda _come, _gone: None,
    ) -> None:
        self._search = search
        # Asked once: each question costs a system call, on the way of every answer that names a wrapper.
        self._as_root = os.geteuid() == 0
        self._told = told
        self._judged = judged
        # Why other users could replace a binary, by its path, at the last look.
        self._replaceable: Mapping[str, str] = MappingProxyType({})
        # Whoever else could replace a binary must not choose what this process executes, whoever it runs as.
        self._walk = partial(walk, trust=Trust(frozenset({0, os.geteuid()})))
        self._settings = Probe(enabled=False)
        self._prober: Prober | None = None

    def look_up(self, path: str) -> str:
        """Return the binary that ``path``, a path or a bare name, leads to.

        Raises:
            BinaryUnavailable: with the reason.
        """
        return look_up(path, self._search, as_root=self._as_root)

    def sights(self, binaries: Iterable[str]) -> Mapping[str, Sight]:
        """Return what is found of each of ``binaries``, paths or bare names."""
        found = {binary: sight(binary, self._search, as_root=self._as_root) for binary in binaries}
        self._judge({seen.path for seen in found.values() if seen.path is not None})
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
        found = []
        for path in dict.fromkeys(runtime.binary for runtime in generation.runtimes.values()):
            try:
                found.append(self.look_up(path or ""))
            except BinaryUnavailable:
                # It may be installed later; who asks for the runtime is told.
                continue
        prober.want(found)

    def stop(self) -> None:
        """Kill what is being asked."""
        if (prober := self._prober) is not None:
            prober.stop()

    def _judge(self, paths: Collection[str]) -> None:
        before = self._replaceable
        now = {path: why for path in sorted(paths) if (why := self.replaceable(path)) is not None}
        self._replaceable = MappingProxyType(now)
        come = {path: why for path, why in now.items() if before.get(path) != why}
        # A binary that is gone, or not configured any more, is not trusted for that.
        gone = [path for path in before if path in paths and path not in now]
        if come or gone:
            self._judged(come, gone)

    def _take(self, settings: Probe) -> Prober | None:
        if settings != self._settings:
            self.stop()
            self._settings = settings
            new = Prober(trusted=self.replaceable, told=self._told, timeout_s=settings.timeout_s)
            self._prober = new if settings.enabled else None
        return self._prober
