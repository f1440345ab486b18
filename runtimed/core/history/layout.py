"""Names the files below the data root, relative to it.

``VERSION``
    the layout's number and a random id
``lock``
    locked by the daemon that uses the data root
``runtimes -> generations/<number>/runtimes``
    the links of the current generation, replaced by rename
``generations/<number>/``
    ``config.json``, ``manifest.json``, ``runtimes -> ../../links/<a or b>``, and ``events.jsonl``: the events while it
    was current
``links/<a or b>/<link> -> ../../wrappers/<file>``
    two directories: one has the links of the current generation, and a publish changes the other one
``parts/<digest>``
    parts of manifests, named by their content, which generations share
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
LINKS = "links"
LINK_DIRECTORIES = ("a", "b")
PARTS = "parts"
WRAPPERS = "wrappers"
PROOFS = "proofs.json"
CONFIG = "config.json"
MANIFEST = "manifest.json"
EVENTS = "events.jsonl"
# In the directory of a generation: the link to its links. An earlier version had a directory with the links there.
VIEW = "runtimes"
# Below the exec root: the directory in which runc keeps the states of containers, which it trusts.
RUNC_STATES = "runtime-runc"
# Below the exec root: the pins, which launchers write (see `runtimed.core.pins`).
PINS = "pins"
# Below the exec root: the current table for readers without the daemon (see `runtimed.core.table.table_file`).
TABLE_FILE = "table.json"
# The prefix of the temporary names under which files are written before they are renamed.
TEMPORARY = ".tmp-"

_NUMBER = re.compile(r"[0-9]{8,}")
_CURRENT_TARGET = re.compile(rf"{GENERATIONS}/([0-9]{{8,}})/{VIEW}")
_TO_LINKS = f"../../{LINKS}/"
_TO_WRAPPERS = f"../../{WRAPPERS}/"


def generation_directory(number: int) -> str:
    """Return the directory of generation ``number``."""
    return f"{GENERATIONS}/{number:08d}"


def generation_number(directory: str) -> int | None:
    """Return the number of the generation whose directory has the base name ``directory``, None for other names."""
    return int(directory) if _NUMBER.fullmatch(directory) else None


def current_target(number: int) -> str:
    """Return the target of the link ``runtimes`` while generation ``number`` is current."""
    return f"{generation_directory(number)}/{VIEW}"


def current_number(target: str) -> int | None:
    """Return the number of the generation that the link target ``target`` makes current, None for other targets."""
    found = _CURRENT_TARGET.fullmatch(target)
    return int(found[1]) if found else None


def view_target(directory: str) -> str:
    """Return the target of the link ``runtimes`` of a generation whose links are in ``directory``."""
    return f"{_TO_LINKS}{directory}"


def link_directory(target: str) -> str | None:
    """Return the link directory that the link target ``target`` of a generation names, None for other targets."""
    directory = target.removeprefix(_TO_LINKS)
    return directory if target.startswith(_TO_LINKS) and directory in LINK_DIRECTORIES else None


def link_target(file: str) -> str:
    """Return the target of the link from a link directory to the script ``file``."""
    return f"{_TO_WRAPPERS}{file}"


def linked_file(target: str) -> str:
    """Return the script that the target ``target`` of a link in a link directory names, "" for other targets."""
    return target.removeprefix(_TO_WRAPPERS) if target.startswith(_TO_WRAPPERS) else ""
