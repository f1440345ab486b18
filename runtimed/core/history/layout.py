"""Names the files below the data root, relative to it.

``VERSION``
    the layout's number and a random id
``lock``
    locked by the daemon that uses the data root
``runtimes -> generations/<number>/runtimes``
    the current generation's links, replaced by rename
``generations/<number>/``
    ``config.json``, ``manifest.json``, ``runtimes/<link> -> ../../../wrappers/<file>``, and ``events.jsonl``: the
    events while it was current
``wrappers/<file>``
    wrappers and launchers, named by their content
``proofs.json``
    the proofs of runtimes; absent before the first test
"""

from __future__ import annotations

import re

LAYOUT = 1
VERSION = "VERSION"
LOCK = "lock"
CURRENT = "runtimes"
GENERATIONS = "generations"
WRAPPERS = "wrappers"
PROOFS = "proofs.json"
CONFIG = "config.json"
MANIFEST = "manifest.json"
EVENTS = "events.jsonl"
LINKS = "runtimes"
# Below the exec root: the directory in which runc keeps the states of containers, which it trusts.
RUNC_STATES = "runtime-runc"
# Below the exec root: the pins, which launchers write (see `runtimed.core.pins`).
PINS = "pins"
# Below the exec root: the current table for readers without the daemon (see `runtimed.core.table.table_file`).
TABLE_FILE = "table.json"
# The prefix of the temporary names under which files are written before they are renamed.
TEMPORARY = ".tmp-"

_NUMBER = re.compile(r"[0-9]{8,}")
_CURRENT_TARGET = re.compile(rf"{GENERATIONS}/([0-9]{{8,}})/{LINKS}")


def generation_directory(number: int) -> str:
    """Return the directory of generation ``number``."""
    return f"{GENERATIONS}/{number:08d}"


def generation_number(directory: str) -> int | None:
    """Return the number of the generation whose directory has the base name ``directory``, None for other names."""
    return int(directory) if _NUMBER.fullmatch(directory) else None


def current_target(number: int) -> str:
    """Return the target of the link ``runtimes`` while generation ``number`` is current."""
    return f"{generation_directory(number)}/{LINKS}"


def current_number(target: str) -> int | None:
    """Return the number of the generation that the link target ``target`` makes current, None for other targets."""
    found = _CURRENT_TARGET.fullmatch(target)
    return int(found[1]) if found else None


def link_target(file: str) -> str:
    """Return the target of the link from a generation's ``runtimes/`` to the script ``file``."""
    return f"../../../{WRAPPERS}/{file}"
