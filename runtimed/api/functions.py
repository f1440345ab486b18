"""Defines the record of the daemon's functions that the routes may call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtimed.api.metrics import Figures
from runtimed.api.resolutions import Lookup
from runtimed.api.sockets import Peer
from runtimed.core.collection.collect import Collection
from runtimed.core.containers import PinnedContainer
from runtimed.core.drift import Drift
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.features import Features
from runtimed.core.history.retained import RetainedGeneration, Summary
from runtimed.core.proof.record import Proof
from runtimed.core.report import Report
from runtimed.core.table.facts import Machine
from runtimed.core.table.generation import Generation, Runtime

if TYPE_CHECKING:
    from runtimed.core import shapes


@dataclass(frozen=True, slots=True)
class DaemonFunctions:
    """The functions of the daemon that the routes may call. The daemon builds the record once, at its start."""

    # Returns the current generation. A route calls it once for each request.
    current: Callable[[], Generation]
    # Return the body of /v1/status; why the process itself is unhealthy, by subject; and why the daemon is degraded.
    status: Callable[[], shapes.Status]
    process_faults: Callable[[], Mapping[str, str]]
    faults: Callable[[], Mapping[str, str]]
    # Return the random id of the data root, which survives a restart, and a description of the machine.
    identity: Callable[[], str]
    machine: Callable[[], Machine]
    # Returns a summary of each retained generation, the oldest first.
    retained: Callable[[], tuple[Summary, ...]]
    # Returns the lookup of the files that an answer names.
    lookup: Callable[[tuple[str, ...]], Lookup]

    # Return a retained generation, the lines of its events, and the values for /metrics. They read the data root: call
    # them by `in_data_root`.
    read_generation: Callable[[int], RetainedGeneration]
    read_events: Callable[[int], bytes]
    figures: Callable[[], Figures]

    # Return the containers that have a pin, compared with a generation. Reads a directory: call it by `in_data_root`.
    containers: Callable[[Generation], tuple[PinnedContainer, ...]]

    # These read the file systems of binaries: call them by `in_binaries`. For each path or name, the first returns the
    # binary's path or why it cannot be executed. The next return why another user could replace a binary, its
    # features, and how it differs from the binary at the last load.
    look_up_all: Callable[[Iterable[str]], Mapping[str, str | BinaryUnavailable]]
    replaceable: Callable[[str], str | None]
    features: Callable[[str], Features]
    drift: Callable[[str], Drift | None]
    # Return the identity of a runtime's binaries, and its proof: after a look at the binaries, or as of the last look.
    current_proof: Callable[[Runtime], tuple[str | None, shapes.Proof]]
    last_proof: Callable[[Runtime], tuple[str | None, shapes.Proof]]

    # Call a function in the thread for the data root, or for the file systems of binaries, on behalf of a peer, and
    # return its result. They raise TimeoutError, or TooManyWaiting when too many calls of the peer's user wait.
    in_data_root: Callable[..., Awaitable[Any]]
    in_binaries: Callable[..., Awaitable[Any]]

    # Returns whether a peer may send a POST.
    may_change: Callable[[Peer], bool]
    # Reload, or collect wrappers, for a peer; with the keyword `dry_run` they change nothing.
    reload: Callable[..., Awaitable[Report]]
    collect: Callable[..., Awaitable[Collection]]
    # Records the outcome of an engine's verification, which is name, state and detail, and returns it with its time.
    record_verification: Callable[[str, shapes.EngineState, str], shapes.EngineStatus]
    # Records a proof for a peer, after comparing it with a runtime, and returns its description. Raises ProofOutdated,
    # StoreFailed.
    record_proof: Callable[[Peer, Runtime, Proof], Awaitable[shapes.Proof]]
