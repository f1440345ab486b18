"""Defines the shapes of the history: the generations, and the events that the daemon keeps with them on disk."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from runtimed.core.shapes.daemon import Cause, Condition, ConfigurationProblem, DriftData, EngineData, Outcome
from runtimed.core.shapes.events import DriftMoreData, DriftOverData, GcData, ReasonData
from runtimed.core.shapes.runtimes import GenerationSummary, ProofData
from runtimed.core.shapes.triggers import Trigger


class HistoryHead(TypedDict):
    """The key that every entry has."""

    time: Annotated[float, "seconds since the epoch"]


class HistoryGeneration(HistoryHead, GenerationSummary):
    """A generation became current."""

    type: Literal["generation"]


class KeptReload(TypedDict):
    """A rejected reload, a start of the daemon, or a repair of published files."""

    outcome: Outcome
    generation: Annotated[int, "number of the generation that is current after it"]
    reason: Annotated[str, "as in the report"]
    cause: Annotated[Cause | None, "of a rejection"]
    problems: Annotated[list[ConfigurationProblem], "the first three"]
    problem_count: int
    repaired: Annotated[list[str], "the first ten published files that were repaired, each with the repair"]
    trigger: Trigger | None


class HistoryReload(HistoryHead, KeptReload):
    """A reload that was rejected, a start of the daemon, or a repair of published files."""

    type: Literal["reload"]


class HistoryHealth(HistoryHead, Condition):
    """The health of the daemon, or the reasons for it, changed."""

    type: Literal["health"]


class HistoryDrift(HistoryHead, DriftData):
    """A runtime's binary changed since the configuration was loaded."""

    type: Literal["drift"]


class HistoryDriftOver(HistoryHead, DriftOverData):
    """A runtime's binary is the same as when the configuration was loaded, or the configuration was loaded again."""

    type: Literal["drift"]


class HistoryDriftMore(HistoryHead, DriftMoreData):
    """The number of further binaries where more than fifty begin, or end, to drift at once."""

    type: Literal["drift"]


class HistoryGc(HistoryHead, GcData):
    """A wrapper was removed."""

    type: Literal["gc"]


class HistoryEngine(HistoryHead, EngineData):
    """The outcome of an engine's verification changed."""

    type: Literal["engine"]


class HistoryProof(HistoryHead, ProofData):
    """The proof of a runtime changed."""

    type: Literal["proof"]


class HistoryGap(HistoryHead, ReasonData):
    """Earlier events of a generation are not kept any more, or cannot be read."""

    type: Literal["gap"]


HistoryEntry = (
    HistoryGeneration
    | HistoryReload
    | HistoryHealth
    | HistoryDrift
    | HistoryDriftOver
    | HistoryDriftMore
    | HistoryGc
    | HistoryEngine
    | HistoryProof
    | HistoryGap
)


class History(TypedDict):
    """The retained generations and their events in the order of time."""

    entries: list[HistoryEntry]
    truncated: Annotated[bool, "whether older entries are left out, because there are too many for one response"]
