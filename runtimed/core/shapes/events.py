"""Defines the shapes of the events in the stream of ``GET /v1/events``."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from runtimed.core.shapes.daemon import Condition, DriftData, EngineData, ReloadData, WatcherData
from runtimed.core.shapes.runtimes import Digest, Number, ProofData


class EventHead(TypedDict):
    """The keys that every event has."""

    seq: Annotated[int, "number of the event; heartbeat, dropped and end repeat the number of the last one"]
    time: Annotated[float, "seconds since the epoch"]


class ReloadEvent(EventHead, ReloadData):
    """A reload ended. Lists are cut after fifty entries; `…_total` is the length of a list that was cut."""

    type: Literal["reload"]


class GenerationData(TypedDict):
    """A new current generation."""

    generation: Number
    digest: Digest
    default_runtime: str
    runtime_count: int


class GenerationEvent(EventHead, GenerationData):
    """Another generation became current."""

    type: Literal["generation"]


class HealthEvent(EventHead, Condition):
    """The health of the daemon, or the reasons for it, changed."""

    type: Literal["health"]


class DriftEvent(EventHead, DriftData):
    """A runtime's binary changed since the configuration was loaded."""

    type: Literal["drift"]


class DriftOverData(TypedDict):
    """The end of the drift of a binary."""

    binary: Annotated[str, "a path or a name, as configured"]
    kind: Annotated[
        Literal["loaded", "back"],
        "loaded: the configuration was loaded again; back: the binary is the same as at the load",
    ]


class DriftOverEvent(EventHead, DriftOverData):
    """A runtime's binary is the same as when the configuration was loaded, or the configuration was loaded again."""

    type: Literal["drift"]


class DriftMoreData(TypedDict):
    """The number of binaries without their own events."""

    binary: None
    kind: Literal["more"]
    count: int


class DriftMoreEvent(EventHead, DriftMoreData):
    """The number of further binaries where more than fifty begin, or end, to drift at once."""

    type: Literal["drift"]


class WatcherEvent(EventHead, WatcherData):
    """The daemon notices changes of files in another way from now on."""

    type: Literal["watcher"]


class GcData(TypedDict):
    """A removed wrapper, and who requested the collection."""

    wrapper: str
    asked_by: str


class GcEvent(EventHead, GcData):
    """A wrapper was removed."""

    type: Literal["gc"]


class EngineEvent(EventHead, EngineData):
    """The outcome of an engine's verification changed."""

    type: Literal["engine"]


class ProofEvent(EventHead, ProofData):
    """The proof of a runtime changed: by a test, or because its resolution or a binary changed after the test."""

    type: Literal["proof"]


class ReasonData(TypedDict):
    """The reason for an event."""

    reason: str


class GapEvent(EventHead, ReasonData):
    """Events up to `seq` are not known any more: request the status."""

    type: Literal["gap"]


class DroppedEvent(EventHead, ReasonData):
    """The last event for a client that has not read for too long."""

    type: Literal["dropped"]


class EndEvent(EventHead, ReasonData):
    """The last event: the daemon stops."""

    type: Literal["end"]


class HeartbeatEvent(EventHead):
    """No event. The first line of every stream, and then one every 15 s, which shows that the connection works."""

    type: Literal["heartbeat"]


Event = (
    ReloadEvent
    | GenerationEvent
    | HealthEvent
    | DriftEvent
    | DriftOverEvent
    | DriftMoreEvent
    | WatcherEvent
    | GcEvent
    | EngineEvent
    | ProofEvent
    | GapEvent
    | DroppedEvent
    | EndEvent
    | HeartbeatEvent
)
