"""The shapes of what the daemon says of itself: reports, its status, what happens. See ``core.shapes``."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from runtimed.core.shapes.runtimes import (
    DefaultChange,
    Digest,
    GenerationsDiff,
    Number,
    RuntimesDrift,
    UnavailableRuntime,
)

Outcome = Literal["applied", "unchanged", "rejected"]
Cause = Literal["configuration", "store"]
WatcherMode = Literal["inotify", "polling", "off"]


class ConfigurationProblem(TypedDict):
    """One thing that is wrong with a configuration. Columns are in characters, and like lines counted from 1."""

    file: Annotated[str | None, "null where the problem is none of a file's"]
    line: int | None
    column: int | None
    pointer: Annotated[
        str | None,
        "JSON pointer (RFC 6901) of the place; one of more than 200 characters is cut and ends in an ellipsis",
    ]
    found: str | None
    expected: str | None
    message: str


class ReportBody(TypedDict):
    """What became of a reload, but for the time at which it ended."""

    outcome: Outcome
    generation: Annotated[int, "number of the generation that is current after it"]
    reason: Annotated[
        str, "what for: `start`, `file-change`, `retry`, `repair`, `signal`, `api`; several are joined by commas"
    ]
    added: Annotated[list[str], "names of runtimes"]
    changed: Annotated[list[str], "names of runtimes"]
    removed: Annotated[list[str], "names of runtimes"]
    default_runtime: Annotated[DefaultChange | None, "null where it is as it was"]
    problems: Annotated[list[ConfigurationProblem], "all that is wrong, the first thousand; empty unless rejected"]
    problem_count: int
    remarks: Annotated[
        list[ConfigurationProblem], "unknown keys, which are ignored, and files that are not read; the first thousand"
    ]
    cause: Annotated[Cause | None, "of a rejection: the configuration is wrong, or the data root cannot be written"]
    repaired: Annotated[list[str], "published files that were damaged or missing, each with the repair"]
    restart_required: Annotated[list[str], "settings that differ from those the daemon was started with"]
    ignored: Annotated[list[str], "keys of dockerd's that mean nothing here"]
    overridden: Annotated[list[str], "keys that a flag wins over"]
    unavailable: Annotated[
        list[UnavailableRuntime], "the first thousand configured runtimes that cannot be used; empty after a rejection"
    ]
    unavailable_count: int
    runtime_count: Annotated[int, "how many runtimes the table has; 0 after a rejection and after a start"]
    duration_ms: float
    dry_run: Annotated[bool, "whether it was only planned"]


class Report(ReportBody):
    """What became of a reload."""

    time: Annotated[float, "when it ended, in seconds since the epoch"]
    changes: NotRequired[
        Annotated[GenerationsDiff, "of a dry run that was not rejected: what it would change, with definitions"]
    ]


class ReloadNews(ReportBody):
    """How a reload ended. Lists end after fifty entries, and then have their whole length in `…_total`."""

    added_total: NotRequired[int]
    changed_total: NotRequired[int]
    removed_total: NotRequired[int]
    problems_total: NotRequired[int]
    remarks_total: NotRequired[int]
    repaired_total: NotRequired[int]
    restart_required_total: NotRequired[int]
    ignored_total: NotRequired[int]
    overridden_total: NotRequired[int]
    unavailable_total: NotRequired[int]


class ShortReport(ReloadNews):
    """How a reload ended. Lists end after a hundred entries, and then have their whole length in `…_total`."""

    time: Annotated[float, "when it ended, in seconds since the epoch"]


class Condition(TypedDict):
    """Whether the daemon serves what is configured."""

    status: Literal["ok", "degraded"]
    reasons: Annotated[dict[str, str], "why it is degraded, by subject"]


class WatcherStatus(TypedDict):
    """How changes of the configuration's files are noticed."""

    mode: WatcherMode
    alive: bool
    faults: Annotated[dict[str, str], "directories that are read by the clock, and why"]


class EventsStatus(TypedDict):
    """How far the stream of events has come."""

    seq: Annotated[int, "number of the last event: `since` this one, nothing is missed"]
    subscribers: int


class DriftNews(RuntimesDrift):
    """What has become of a binary; ``runtimes`` are the first fifty that execute it."""

    runtime_count: int


class Status(TypedDict):
    """How the daemon is."""

    health: Condition
    generation: Number
    digest: Digest
    default_runtime: str
    runtimes: Annotated[int, "how many there are, the stock ones included"]
    unavailable: Annotated[
        list[UnavailableRuntime], "the first thousand configured runtimes that cannot be used, by the last look"
    ]
    unavailable_count: int
    last_reload: ShortReport | None
    configuration: Annotated[str, "path of the main file, whether it is there or not"]
    sources: Annotated[list[str], "the files that the current generation came from"]
    data_root: str
    exec_root: str
    hosts: list[str]
    watcher: WatcherStatus
    drift: Annotated[list[DriftNews], "the first thousand binaries that are not what they were at the load"]
    drift_count: int
    events: EventsStatus
    uptime_s: float
    pid: int
    version: str


class WrapperVerdict(TypedDict):
    """What became of a wrapper."""

    file: str
    verdict: Annotated[Literal["keep", "collect", "collected"], "collect: it may go, and is still there"]
    reason: str


class Collection(TypedDict):
    """What became of every wrapper."""

    dry_run: bool
    collected: Annotated[int, "how many are gone now"]
    kept: Annotated[int, "how many are still there"]
    unknown: Annotated[list[str], "what could not be looked at; whatever may refer to a wrapper keeps it"]
    wrappers: list[WrapperVerdict]


class Health(TypedDict):
    """The process is well."""

    status: Literal["ok"]


class EventHead(TypedDict):
    """What every event says besides what happened."""

    seq: Annotated[int, "number of the event; that of the last one for those that are no news"]
    time: Annotated[float, "seconds since the epoch"]


class ReloadEvent(EventHead, ReloadNews):
    """A reload ended. Lists end after fifty entries, and then have their whole length in `…_total`."""

    type: Literal["reload"]


class GenerationNews(TypedDict):
    """What a new generation is."""

    generation: Number
    digest: Digest
    default_runtime: str
    runtime_count: int


class GenerationEvent(EventHead, GenerationNews):
    """Another generation has become current."""

    type: Literal["generation"]


class HealthEvent(EventHead, Condition):
    """The daemon has become degraded or well, or degraded for another reason."""

    type: Literal["health"]


class DriftEvent(EventHead, DriftNews):
    """A runtime's binary is not what it was when the configuration was loaded."""

    type: Literal["drift"]


class DriftOverNews(TypedDict):
    """What there is nothing more to say about."""

    binary: Annotated[str, "a path or a name, as configured"]
    kind: Annotated[Literal["loaded", "back"], "loaded: the configuration was, with the binary as it is now"]


class DriftOverEvent(EventHead, DriftOverNews):
    """A runtime's binary is as it was when the configuration was loaded, or that has been loaded again."""

    type: Literal["drift"]


class DriftMoreNews(TypedDict):
    """How many binaries are not named."""

    binary: None
    kind: Literal["more"]
    count: int


class DriftMoreEvent(EventHead, DriftMoreNews):
    """More drift than is told one by one: fifty binaries come and fifty gone at a time."""

    type: Literal["drift"]


class WatcherNews(TypedDict):
    """How changes of files are noticed from now on."""

    mode: WatcherMode
    faults: Annotated[dict[str, str], "directories that are read by the clock, and why"]


class WatcherEvent(EventHead, WatcherNews):
    """Changes of files are noticed in another way."""

    type: Literal["watcher"]


class GcNews(TypedDict):
    """Which wrapper was removed, and who asked for it."""

    wrapper: str
    asked_by: str


class GcEvent(EventHead, GcNews):
    """A wrapper was removed."""

    type: Literal["gc"]


class ReasonNews(TypedDict):
    """Why."""

    reason: str


class GapEvent(EventHead, ReasonNews):
    """What happened up to `seq` is not known here: ask for the status as it is now."""

    type: Literal["gap"]


class DroppedEvent(EventHead, ReasonNews):
    """The last event of a client that left too much unread."""

    type: Literal["dropped"]


class EndEvent(EventHead, ReasonNews):
    """The last event: the daemon stops."""

    type: Literal["end"]


class HeartbeatEvent(EventHead):
    """Nothing happened. The first line of every stream that begins, and then one every 15 s."""

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
    | GapEvent
    | DroppedEvent
    | EndEvent
    | HeartbeatEvent
)
