"""Defines the shapes of the daemon: reports of reloads, and its status."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from runtimed.core.shapes.runtimes import (
    DefaultChange,
    Digest,
    Drift,
    GenerationsDiff,
    Number,
    Proof,
    UnavailableRuntime,
)

Outcome = Literal["applied", "unchanged", "rejected"]
Cause = Literal["configuration", "store"]
WatcherMode = Literal["inotify", "polling", "off"]
EngineState = Literal["follows", "differs", "not-told", "not-running", "unknown"]


class ConfigurationProblem(TypedDict):
    """One error in a configuration. Lines and columns count from 1, columns in characters."""

    file: Annotated[str | None, "null for a problem that is not in a file"]
    line: int | None
    column: int | None
    pointer: Annotated[str | None, "JSON pointer (RFC 6901) of the place, cut after 200 characters with an ellipsis"]
    found: str | None
    expected: str | None
    message: str


class KeptDefinition(TypedDict):
    """A number of containers that keep the same older definition of a runtime."""

    runtime: str
    containers: int
    generation: Annotated[int | None, "the newest retained generation with this definition; null if none has it"]
    binary: Annotated[str, "the wrapper or the binary that the containers keep"]


class ReportBody(TypedDict):
    """The report of a reload without the time."""

    outcome: Outcome
    generation: Annotated[int, "number of the generation that is current after the reload"]
    reason: Annotated[
        str, "the trigger: `start`, `file-change`, `retry`, `repair`, `signal`, `api`; several are joined by commas"
    ]
    added: Annotated[list[str], "names of runtimes"]
    changed: Annotated[list[str], "names of runtimes"]
    removed: Annotated[list[str], "names of runtimes"]
    default_runtime: Annotated[DefaultChange | None, "null where it did not change"]
    problems: Annotated[list[ConfigurationProblem], "the first thousand errors; empty unless rejected"]
    problem_count: int
    remarks: Annotated[
        list[ConfigurationProblem], "the first thousand unknown keys, which are ignored, and files that are not read"
    ]
    cause: Annotated[Cause | None, "of a rejection: an invalid configuration, or a data root that cannot be written"]
    repaired: Annotated[list[str], "published files that were damaged or missing, each with the repair"]
    restart_required: Annotated[list[str], "changed settings that take effect after a restart"]
    ignored: Annotated[list[str], "keys of dockerd that runtimed does not use"]
    overridden: Annotated[list[str], "keys that a flag overrides"]
    unavailable: Annotated[
        list[UnavailableRuntime], "the first thousand configured runtimes that cannot be used; empty after a rejection"
    ]
    unavailable_count: int
    runtime_count: Annotated[int, "number of runtimes in the table; 0 after a rejection and after a start"]
    kept: Annotated[
        list[KeptDefinition],
        "the first thousand older definitions that containers keep; empty after a rejection and after a start",
    ]
    kept_count: int
    duration_ms: float
    dry_run: Annotated[bool, "whether it was only a plan"]


class Report(ReportBody):
    """The report of a reload."""

    time: Annotated[float, "the end of the reload, in seconds since the epoch"]
    changes: NotRequired[
        Annotated[GenerationsDiff, "the planned changes with definitions, only of a dry run that was not rejected"]
    ]


class ReloadData(ReportBody):
    """The report of a reload, its lists cut after fifty entries; `…_total` is the length of a list that was cut."""

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
    kept_total: NotRequired[int]


class ShortReport(ReloadData):
    """The report of a reload, its lists cut after a hundred entries; `…_total` is the length of a list that was cut."""

    time: Annotated[float, "the end of the reload, in seconds since the epoch"]


class Condition(TypedDict):
    """The health of the daemon: whether it can serve the configuration."""

    status: Literal["ok", "degraded"]
    reasons: Annotated[dict[str, str], "the reasons for degraded, by subject"]


class WatcherData(TypedDict):
    """How the daemon notices changes of the configuration's files."""

    mode: WatcherMode
    faults: Annotated[dict[str, str], "directories that are polled, and why"]


class WatcherStatus(WatcherData):
    """How the daemon notices changes of the configuration's files, and whether the watcher runs."""

    alive: bool


class EventsStatus(TypedDict):
    """The stream of events."""

    seq: Annotated[int, "number of the last event; a subscription with `since` this number misses none"]
    subscribers: int


class DriftData(Drift):
    """The change of a binary since the configuration was loaded, and the runtimes that execute the binary."""

    runtimes: Annotated[list[str], "the first fifty"]
    runtime_count: int


class ContainersStatus(TypedDict):
    """The containers that were started through stable paths, as of the last look."""

    pinned: Annotated[int, "number of containers with a pin: they keep the binary that they were created with"]
    unpinned: Annotated[
        int, "number of containers without a pin: all calls execute the current definition of their runtime"
    ]
    outdated: Annotated[int, "number of containers with a pin that keep an older definition"]
    kept: Annotated[list[KeptDefinition], "the first thousand older definitions that containers keep"]
    unknown: Annotated[
        list[str], "the first thousand files of pins that cannot be read: calls for their containers are refused"
    ]


class EngineData(TypedDict):
    """The outcome of a verification: whether an engine of this node has the table."""

    engine: str
    state: Annotated[
        EngineState,
        "follows: it has the table; differs: it has other runtimes, or its file has; not-told: its file has the table, "
        "and the engine has not read it yet; not-running; unknown: the engine cannot be asked or understood",
    ]
    detail: Annotated[str, "the reason for the state, and the command that changes it; empty where there is none"]


class EngineStatus(EngineData):
    """The last verification of an engine."""

    time: Annotated[float, "when it was recorded, in seconds since the epoch"]


class ProofsStatus(TypedDict):
    """The proofs of the runtimes, as of the last look at their binaries."""

    required: Annotated[bool, "whether a configuration is rejected if its default runtime is not proved"]
    states: Annotated[dict[str, int], "number of runtimes by state: proved, not-proved, outdated"]
    default: Annotated[Proof, "the proof of the default runtime"]
    remark: Annotated[str | None, "why the file with the proofs of earlier tests is not used; null if it is"]


class Status(TypedDict):
    """The status of the daemon."""

    health: Condition
    generation: Number
    digest: Digest
    default_runtime: str
    runtimes: Annotated[int, "number of runtimes, with the stock ones"]
    unavailable: Annotated[
        list[UnavailableRuntime], "the first thousand configured runtimes that cannot be used, as of the last check"
    ]
    unavailable_count: int
    last_reload: ShortReport | None
    configuration: Annotated[str, "path of the main file, which may be missing"]
    sources: Annotated[list[str], "the files that the current generation was built from"]
    data_root: str
    exec_root: str
    hosts: list[str]
    watcher: WatcherStatus
    drift: Annotated[list[DriftData], "the first thousand binaries that changed since the configuration was loaded"]
    drift_count: int
    containers: ContainersStatus
    engines: Annotated[
        list[EngineStatus],
        "the last verification of each engine since the daemon started; `runtimectl sync` records them",
    ]
    proofs: ProofsStatus
    events: EventsStatus
    uptime_s: float
    pid: int
    version: str


class WrapperVerdict(TypedDict):
    """The verdict on a wrapper."""

    file: str
    verdict: Annotated[Literal["keep", "collect", "collected"], "collect: unreferenced, but not removed"]
    reason: str


class Collection(TypedDict):
    """The result of a collection: the verdict on every wrapper."""

    dry_run: bool
    collected: Annotated[int, "number of wrappers that were removed"]
    kept: Annotated[int, "number of wrappers that are left"]
    unknown: Annotated[
        list[str], "sources of references that could not be read; a wrapper that they may refer to is kept"
    ]
    wrappers: list[WrapperVerdict]


class PinnedContainer(TypedDict):
    """A container that was started through the stable path of a runtime, and has a pin."""

    id: str
    root: Annotated[str | None, "the --root that the engine gave; null for none"]
    runtime: str
    generation: Annotated[int | None, "the newest retained generation with this binary; null if none has it"]
    binary: Annotated[str, "the wrapper or the binary that the container keeps"]
    outdated: Annotated[bool, "whether the stable path leads to another binary now, or to none"]
    bundle: Annotated[str | None, "directory of its OCI bundle; null if it is unknown"]


class Containers(TypedDict):
    """The containers that have a pin, sorted by runtime and id."""

    generation: Annotated[int, "number of the current generation, with which the binaries are compared"]
    containers: list[PinnedContainer]


class Health(TypedDict):
    """The process is healthy."""

    status: Literal["ok"]
