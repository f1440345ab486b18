"""Writes the configuration files of engines on this node, once each engine's own check has accepted them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runtimed.cli.engine_node import EngineNode
from runtimed.core import engines
from runtimed.core.engines.engine import ExportOptions, NoAnswer, NotInstalled, Plan, Table
from runtimed.core.engines.verification import FileState
from runtimed.core.errors import ConfigurationRejected, PathMissing, PathRefused, Problem
from runtimed.host.engines.files import changed_at, has_staging, make_scratch, open_staging, replaceable, write_file
from runtimed.host.engines.programs import failure_of

_NO_RENAME = (errno.EXDEV, errno.EBUSY)


@dataclass(frozen=True, slots=True)
class Written:
    """The paths of the files that were ``written`` and of those that are ``unchanged``, and the remarks."""

    written: list[str]
    unchanged: list[str]
    remarks: tuple[Problem, ...]


def write_engine(name: str, table: Table, options: ExportOptions) -> Written:
    """Make the files of the engine ``name`` those of ``table``.

    Raises:
        ConfigurationRejected: a file must not be written, cannot be written, or is refused by the engine's check.
    """
    return write_files(EngineNode(name, engines.load_engine(name)), table, options)


def write_files(
    node: EngineNode, table: Table, options: ExportOptions, at_step: Callable[[str], None] = lambda _: None
) -> Written:
    """Make the files of an engine those of ``table``, as `write_engine` does.

    ``at_step`` is called with the name of each step before it, so that a test can make it fail.
    """
    path = node.writing.path
    with _rejecting(path):
        plan = node.plan(table, options)
        current = node.read(write.path for write in plan.writes)
        is_equal = all(current.get(write.path) == write.data for write in plan.writes)
        if is_equal and not has_staging(node.directory):
            # No change of the disk, so that this works on one that is full or read-only.
            return Written([], [write.path for write in plan.writes], plan.remarks)
        with open_staging(node.directory, at_step) as staging:
            # Again, because another run may have written the files meanwhile.
            plan = node.plan(table, options)
            for write in plan.writes:
                replaceable(write.path)
            remarks = (*plan.remarks, *_check(plan, node, path, staging, at_step))
            node.require_unchanged()
            before = node.read(write.path for write in plan.writes)
            after = dict(before)
            for write in plan.writes:
                if after.get(write.path) != write.data:
                    write_file(write, staging, node.secure, at_step)
                    after[write.path] = write.data
    # A plan may write a file twice.
    paths = dict.fromkeys(write.path for write in plan.writes)
    written = [path for path in paths if after[path] != before.get(path)]
    return Written(written, [path for path in paths if path not in written], remarks)


def inspect_file(node: EngineNode, table: Table, options: ExportOptions) -> tuple[FileState, Plan | None]:
    """Return the file of an engine as it is and as it should be, and the plan to write it, None if it is refused."""
    writing = node.writing
    path = writing.path
    try:
        with _rejecting(path):
            if writing.version is not None and node.run(writing.version) is None:
                problem = Problem(f"there is no program {writing.version.words[0]} on this node")
                return FileState(path, None, None, None, (problem,), installed=False), None
            plan = node.plan(table, options)
            wanted = next(write.data for write in plan.writes if write.path == path)
            return FileState(path, node.read([path]).get(path), wanted, changed_at(path)), plan
    except ConfigurationRejected as rejection:
        installed = writing.version is not None or not isinstance(rejection, NotInstalled)
        return FileState(path, None, None, None, rejection.problems, installed), None


def _check(
    plan: Plan, node: EngineNode, path: str, staging: str, at_step: Callable[[str], None]
) -> tuple[Problem, ...]:
    """Have the engine check the files of ``plan``, and return remarks on checks that were not possible.

    Raises:
        ConfigurationRejected: a check refuses the files.
    """
    at_step("scratch")
    for name, data in plan.scratch.items():
        make_scratch(staging, name, data)
    answers: list[bytes] = []
    at_step("check")
    for run in plan.checks:
        outcome, command = node.run(run), " ".join(run.words)
        if outcome is None:
            return (Problem(f"is written without a check, because there is no program {run.words[0]}", path),)
        reason = failure_of(outcome)
        if reason is None:
            answers.append(outcome.stdout)
        elif plan.unknown is not None and plan.unknown in outcome.stderr.decode(errors="replace"):
            return (Problem(f"is written without a check, because this {run.words[0]} has none ({command})", path),)
        else:
            raise ConfigurationRejected((Problem(f"is not written, because `{command}` refuses it: {reason}", path),))
    problems = tuple(plan.judge(answers))
    if problems:
        raise ConfigurationRejected(problems)
    return ()


@contextmanager
def _rejecting(path: str) -> Iterator[None]:
    """Turn each error of the block into ConfigurationRejected; ``path`` is the file that is to be written."""
    try:
        yield
    except PathRefused as error:
        is_by_user = error.owner is not None and error.mode is not None
        owned = f" (owner: user id {error.owner}, mode {error.mode:04o})" if is_by_user else ""
        text = f"is not used: it {error.reason}{owned}; {error.advice}"
        raise ConfigurationRejected((Problem(text, error.path),)) from error
    except PathMissing as error:
        raise ConfigurationRejected((Problem(str(error), path),)) from error
    except NoAnswer as error:
        raise ConfigurationRejected((Problem(f"is not written, because {error}", path),)) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if error.errno in _NO_RENAME:
            # The file is a mount, as in a container; or its directory is one.
            reason += "; it or its directory is a mount, where no file can be put in place by a rename: unmount it"
        raise ConfigurationRejected(
            (Problem(f"cannot be read or written: {reason}", error.filename2 or error.filename or path),)
        ) from error
