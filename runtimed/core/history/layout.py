"""Where things lie below the data root, as names relative to it.

``VERSION``
    layout number and a random id
``lock``
    held by the daemon that owns the data root
``runtimes -> generations/<number>/runtimes``
    the current view, replaced by rename
``generations/<number>/``
    ``config.json``, ``manifest.json``, ``runtimes/<link> -> ../../../wrappers/<file>``
``wrappers/<file>``
    wrapper scripts, named by their content
"""

from __future__ import annotations

import re

LAYOUT = 1
VERSION = "VERSION"
LOCK = "lock"
CURRENT = "runtimes"
GENERATIONS = "generations"
WRAPPERS = "wrappers"
CONFIG = "config.json"
MANIFEST = "manifest.json"
LINKS = "runtimes"
# Below the exec root: where runc keeps the states of containers, which it trusts.
RUNC_STATES = "runtime-runc"
# Everything that is written under another name first is called this and something.
TEMPORARY = ".tmp-"

_NUMBER = re.compile(r"[0-9]{8,}")


def generation_directory(number: int) -> str:
    """Return the directory of generation ``number``."""
    return f"{GENERATIONS}/{number:08d}"


def generation_number(directory: str) -> int | None:
    """Return the number of the generation whose directory has the base name ``directory``, None if it is none."""
    return int(directory) if _NUMBER.fullmatch(directory) else None


def current_target(number: int) -> str:
    """Return what the link ``runtimes`` holds while generation ``number`` is current."""
    return f"{generation_directory(number)}/{LINKS}"


def current_number(target: str) -> int | None:
    """Return the number of the generation that the link target ``target`` makes current, None if none."""
    parts = target.split("/")
    if len(parts) != 3 or parts[0] != GENERATIONS or parts[2] != LINKS:  # noqa: PLR2004 - the form above
        return None
    return generation_number(parts[1])


def link_target(wrapper_file: str) -> str:
    """Return what the link of a runtime holds so that it leads to the wrapper ``wrapper_file``."""
    return f"../../../{WRAPPERS}/{wrapper_file}"
