"""Documents -> generation: the pure half of every start, reload and validation."""

from __future__ import annotations

from dataclasses import dataclass

from runtimed.core.config import Documents, Flags, Settings
from runtimed.core.generation import Generation, Host, build_generation
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


def plan(
    documents: Documents, frame: Frame, number: int, previous: Generation | None, main_required: str | None
) -> Generation:
    """Return the generation that ``documents`` mean: the pure half of every reload, start and validation.

    Raises:
        ConfigurationRejected: with everything that is wrong with them.
    """
    config = parse_configuration(documents, frame.flags, frame.defaults, main_required=main_required)
    return build_generation(config, frame.host, number, previous)
