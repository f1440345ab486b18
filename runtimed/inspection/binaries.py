"""Inspects the node's binaries: their paths, the users who can replace them, their features."""

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
from runtimed.core.table.availability import Unavailable, find_unavailable
from runtimed.core.table.generation import Generation
from runtimed.host.binaries import binary_state, look_up
from runtimed.host.directory_pool import DirectoryPool
from runtimed.host.features import Prober, replaceable
from runtimed.host.trust import Trust, walk

_OFF = Features("unknown", reason="probing is turned off (runtimed.probe)")


class NodeInspector:
    """The node's binaries. All methods read the disk, except ``stop``.

    ``search`` is the PATH to look for binaries. ``on_features`` is called in a thread with each new result of a probe.
    ``on_replaceable`` is called after a look that found a change: with the binaries that other users can replace since
    then, by path with the reason, and with those that they no longer can. ``pool`` has the threads for look-ups.
    """

    def __init__(
        self,
        search: str,
        on_features: Callable[[str, Features], None],
        on_replaceable: Callable[[Mapping[str, str], Collection[str]], None] = lambda _begun, _ended: None,
    ) -> None:
        self._search = search
        # Read once, because each geteuid() is a system call.
        uid = os.geteuid()
        self._as_root = uid == 0
        self._on_features = on_features
        self._on_replaceable = on_replaceable
        # Path -> the reason why other users could replace the binary at the last look.
        self._replaceable: Mapping[str, str] = MappingProxyType({})
        self.pool = DirectoryPool("look-ups")
        # A user who can replace a binary would choose what this process executes.
        self._walk = partial(walk, trust=Trust(frozenset({0, uid})))
        self._settings = Probe(enabled=False)
        self._prober: Prober | None = None

    def look_up(self, path: str) -> str:
        """Return the binary that ``path``, a path or a bare name, leads to.

        Raises:
            BinaryUnavailable: there is none, or a probe has found that the kernel refuses it.
        """
        found = look_up(path, self._search, as_root=self._as_root)
        if (refusal := self._refusal(found)) is not None:
            reason = refusal if found == path else f"{printable(found)}: {refusal}"
            raise BinaryUnavailable(printable(path), reason, refused=True)
        return found

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        """Return the result or error of `look_up` for each of ``files``, within bounded time even if one hangs."""
        return _unavailable(self.pool.call_all(self.look_up, files))

    async def find_unavailable(self, generation: Generation) -> tuple[Unavailable, ...]:
        """Return the unusable runtimes of ``generation``. Wrappers are not checked."""
        found = _unavailable(await self.pool.gather(self.look_up, generation.binaries))
        errors = {file: error.reason for file, error in found.items() if isinstance(error, BinaryUnavailable)}
        return find_unavailable(generation, errors)

    def states(self, binaries: Iterable[str]) -> Mapping[str, BinaryState]:
        """Return the state of each of ``binaries``, paths or bare names."""
        looks = self.pool.call_all(self._look, binaries)
        self._compare_replaceable(
            {look[0].path: look[1] for look in looks.values() if isinstance(look, tuple) and look[0].path}
        )
        return {
            binary: look[0] if isinstance(look, tuple) else BinaryState("unusable", reason=str(look))
            for binary, look in looks.items()
        }

    def seem_changed(self, states: Mapping[str, BinaryState]) -> bool:
        """Return whether `states` might return others, or other users can replace other binaries than before.

        Wakes no other thread, so it hangs with a file system, unlike `states`.
        """
        reasons = self._replaceable
        return any(self._look(binary) != (found, reasons.get(found.path or "")) for binary, found in states.items())

    def look_at(self, binaries: Iterable[str]) -> Mapping[str, BinaryState]:
        """Return the state of each of ``binaries``, as `states`, and report no change."""
        look = partial(binary_state, search=self._search, as_root=self._as_root, refusal=self._refusal)
        return {
            binary: found if isinstance(found, BinaryState) else BinaryState("unusable", reason=str(found))
            for binary, found in self.pool.call_all(look, binaries).items()
        }

    def replaceable(self, binary: str) -> str | None:
        """Return why another user could replace ``binary``; None if no other user could."""
        return replaceable(binary, self._walk)

    def features(self, binary: str) -> Features:
        """Return the features of ``binary`` that are known so far."""
        # Read once: `probe` may remove the prober in another thread.
        prober = self._prober
        return prober.get(binary) if prober is not None else _OFF

    def probe(self, settings: Probe, binaries: Iterable[str]) -> None:
        """Probe those of ``binaries``, paths or bare names, that are new or changed, as ``settings`` say.

        With another time-out all binaries are probed again.
        """
        if settings != self._settings:
            if self._prober is not None:
                self._prober.stop()
            self._settings = settings
            new = Prober(trusted=self.replaceable, on_result=self._on_features, timeout_s=settings.timeout_s)
            self._prober = new if settings.enabled else None
        if self._prober is None:
            return
        # A missing one may be installed later.
        self._prober.want(found for found in self.look_up_all(binaries).values() if isinstance(found, str))

    def stop(self) -> None:
        """Kill the running probes, and end the threads."""
        self.pool.close()
        if (prober := self._prober) is not None:
            prober.stop()

    def _look(self, binary: str) -> tuple[BinaryState, str | None]:
        """Return the state of ``binary``, and why other users could replace it."""
        found = binary_state(binary, self._search, as_root=self._as_root, refusal=self._refusal)
        return found, None if found.path is None else self.replaceable(found.path)

    def _compare_replaceable(self, reasons: Mapping[str, str | None]) -> None:
        before = self._replaceable
        now = {path: reason for path, reason in sorted(reasons.items()) if reason is not None}
        self._replaceable = MappingProxyType(now)
        begun = {path: reason for path, reason in now.items() if before.get(path) != reason}
        # A binary that was removed, or is no longer configured, is not reported as trusted.
        ended = [path for path in before if path in reasons and path not in now]
        if begun or ended:
            self._on_replaceable(begun, ended)

    def _refusal(self, binary: str) -> str | None:
        prober = self._prober
        return prober.refusal(binary) if prober is not None else None


def _unavailable(outcomes: Mapping[str, str | Exception]) -> Mapping[str, str | BinaryUnavailable]:
    """Return ``outcomes`` with one kind of exception."""
    return {
        file: outcome
        if isinstance(outcome, (str, BinaryUnavailable))
        else BinaryUnavailable(printable(file), str(outcome))
        for file, outcome in outcomes.items()
    }
