"""What a process starts with: documents, and the settings that hold until it ends even when they are broken."""

from __future__ import annotations

import os
from dataclasses import replace

from runtimed.core.config import Documents, Settings, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import ConfigurationRejected, PathRefused, Problem
from runtimed.core.history.manifest import Manifest
from runtimed.core.message_text import printable
from runtimed.daemon.arguments import Arguments
from runtimed.host.files import MAX_BYTES, Snapshot, Walker, is_stream, read_documents, read_stream

_NAMED = "it was named on the command line; correct the name, or write {} to it for an empty table"


def main_required(arguments: Arguments) -> str | None:
    """Return why a main file that is missing is an error for this process; None where it means an empty table."""
    return _NAMED if arguments.config_explicit else None


def read_snapshot(arguments: Arguments, walk: Walker) -> Snapshot:
    """Return the documents that the command line names, at one instant. Blocks."""
    if not arguments.files:
        return read_documents(arguments.config_path, arguments.config_dir, walk)
    main, *others = (_read_named(file, walk, dropin=index > 0) for index, file in enumerate(arguments.files))
    problems = list(main.problems)
    for document in others:
        problems += document.problems
        if document.main is None and not document.problems:
            problems.append(Problem(f"the file is not there: {_NAMED}", document.main_path))
    dropins = tuple(document.main for document in others if document.main is not None)
    return Snapshot(replace(main, dropins=dropins, problems=tuple(problems)), frozenset())


def _read_named(path: str, walk: Walker, *, dropin: bool) -> Documents:
    if is_stream(path):
        return read_stream(path, MAX_BYTES)
    return read_documents(path, None, walk, dropin=dropin).documents


def find_data_root(documents: Documents, arguments: Arguments) -> str:
    """Return the data root: as the documents have it, or by flag or default where they are too broken to say.

    Raises:
        ConfigurationRejected: the flags themselves are wrong.
    """
    return _settings(documents, arguments).data_root


def find_settings(documents: Documents, arguments: Arguments, last: Manifest | None, config_text: bytes) -> Settings:
    """Return the settings to run with: the documents' own, else those of the last good generation, flags on top.

    ``last`` and ``config_text`` are the generation on disk. One that came from another main file does
    not count.

    Raises:
        ConfigurationRejected: the flags themselves are wrong.
    """
    if last is not None and last.configuration == documents.main_path:
        lost = documents.main is None and documents.main_path in last.sources
        if lost or not _is_valid(documents, arguments):
            documents = Documents(documents.main_path, Source(documents.main_path, config_text))
    return _settings(documents, arguments)


def _is_valid(documents: Documents, arguments: Arguments) -> bool:
    try:
        parse_configuration(documents, arguments.flags, arguments.defaults)
    except ConfigurationRejected:
        return False
    return True


def _settings(documents: Documents, arguments: Arguments) -> Settings:
    if not _is_valid(documents, arguments):
        documents = Documents(documents.main_path)
    return parse_configuration(documents, arguments.flags, arguments.defaults).settings


def check_owner(exec_root: str, uid: int) -> None:
    """Check that no user but ``uid`` can change the directory ``exec_root``, from which that user's runtimes are run.

    Raises: PathRefused. Root's directories have been checked by then, with every directory on the way to them.
    """
    found = os.stat(exec_root)
    if uid == 0 or (found.st_uid == uid and not found.st_mode & 0o022):
        return
    reason = f"belongs to user id {found.st_uid} and has mode {found.st_mode & 0o7777:04o}"
    advice = "name a directory that only you can write, with --exec-root or by the variable XDG_RUNTIME_DIR"
    raise PathRefused(printable(exec_root), reason, advice)
