"""Documents -> generation: the pure half of every start, reload and validation."""

from __future__ import annotations

from dataclasses import dataclass

from runtimed.core.config import Documents, Flags, Settings
from runtimed.core.generation import Difference, Generation, Host, build_generation, compare_generations
from runtimed.core.parse import parse_configuration


@dataclass(frozen=True, slots=True)
class Frame:
    """What stays the same for as long as the process runs, and decides together with the documents."""

    config_path: str
    flags: Flags
    defaults: Settings
    host: Host
    # The settings the daemon was started with.
    boot: Settings
    # Why a main file that is missing is an error from the start; None where it is not.
    main_required: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The generation that documents mean, and what it changes for a client of the previous one."""

    generation: Generation
    difference: Difference


def plan(
    documents: Documents, frame: Frame, number: int, previous: Generation | None, main_required: str | None
) -> Plan:
    """Return what ``documents`` mean as generation ``number`` after ``previous``.

    Raises:
        ConfigurationRejected: with everything that is wrong with them.
    """
    config = parse_configuration(documents, frame.flags, frame.defaults, main_required=main_required)
    generation = build_generation(config, frame.host, number, previous)
    return Plan(generation, compare_generations(previous, generation))
