"""Tests of writing an engine's files: read, planned, checked, judged, and only then replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import listing
from harness.engine import TABLE, SmallEngine

from runtimed.cli.engine_files import write_files
from runtimed.core.engines.engine import ExportOptions, NotInstalled
from runtimed.core.engines.ownership import MARK
from runtimed.core.errors import ConfigurationRejected
from runtimed.host.engines.files import STAGING

CONTENT = f"{MARK}default crun\ncrun /var/lib/runtimed/runtimes/crun\n"


@pytest.fixture
def small(tmp_path: Path) -> SmallEngine:
    return SmallEngine(tmp_path)


def table(*names: str, default: str = "crun") -> dict[str, Any]:
    return {**TABLE, "default_runtime": default, "runtimes": [{"name": n, "stable_path": f"/s/{n}"} for n in names]}


def write(small: SmallEngine, given: Any = TABLE, at_step: Callable[[str], None] = lambda _: None) -> Any:
    return write_files(small.node(), given, ExportOptions(), at_step)


def refusal(small: SmallEngine, given: Any = TABLE) -> str:
    """Return the problems of a write, which must change nothing."""
    before = listing(small.root)
    with pytest.raises(ConfigurationRejected) as rejection:
        write(small, given)
    after = listing(small.root)
    # The staging directory was there for a moment.
    for each in (before, after):
        each.pop("etc", None)
    assert after == before
    return "\n".join(map(str, rejection.value.problems))


def test_a_file_is_written_and_then_unchanged(small: SmallEngine) -> None:
    found = write(small)
    assert (found.written, found.unchanged) == ([str(small.file)], [])
    assert [str(remark) for remark in found.remarks] == ["a remark", "version 1.2"]
    assert small.file.read_text() == CONTENT
    before = listing(small.root)
    found = write(small)
    assert (found.written, found.unchanged) == ([], [str(small.file)])
    # The directories are untouched as well.
    assert listing(small.root) == before
    assert write(small, table("x")).written == [str(small.file)]


def test_of_two_files_only_the_one_that_differs_is_written(tmp_path: Path) -> None:
    small = SmallEngine(tmp_path, record=True)
    record = small.directory / ".record"
    assert write(small).written == [str(record), str(small.file)]
    record.unlink()
    before = small.file.stat()
    found = write(small)
    assert (found.written, found.unchanged) == ([str(record)], [str(small.file)])
    assert small.file.stat() == before


def test_a_file_that_the_check_refuses_is_not_written_and_its_reason_is_told(small: SmallEngine) -> None:
    reason = f"`{small.program} check {small.directory}/.runtimectl.new/check/50-runtimed.conf` refuses it: "
    for _ in range(2):
        assert f"{small.file}: is not written, because {reason}" in refusal(small, table("refused"))
        write(small)
    assert small.file.read_text() == CONTENT


def test_a_judgement_of_the_answers_is_a_refusal(small: SmallEngine) -> None:
    assert refusal(small, table("judged")) == f"{small.file}:2: has a word that is judged"


def test_a_check_that_is_too_new_for_the_engine_is_a_remark(tmp_path: Path) -> None:
    small = SmallEngine(tmp_path, unknown="has a refused word")
    found = write(small, table("refused"))
    assert found.written == [str(small.file)]
    assert "is written without a check, because this" in str(found.remarks[-1])
    # Its answers are not judged either.
    assert write(small, table("refused", "judged")).written


def test_without_the_program_the_file_is_written_without_its_check(small: SmallEngine) -> None:
    small.program.unlink()
    assert [str(remark) for remark in write(small, table("refused")).remarks] == ["a remark", "version none"]


def test_a_program_that_is_removed_before_its_check_is_a_remark(small: SmallEngine) -> None:
    def remove(step: str) -> None:
        if step == "check":
            small.program.unlink()

    found = write(small, at_step=remove)
    expected = f"{small.file}: is written without a check, because there is no program {small.program}"
    assert (found.written, str(found.remarks[-1])) == ([str(small.file)], expected)


def test_a_link_to_nowhere_among_the_files_is_a_refusal(small: SmallEngine) -> None:
    (small.directory / "main.conf").symlink_to("nowhere")
    text = f"the symbolic link {small.directory}/main.conf leads to {small.directory}/nowhere, which does not exist"
    assert refusal(small) == f"{small.file}: {text}"


def test_a_program_that_fails_to_tell_its_version_is_a_refusal(small: SmallEngine) -> None:
    small.program.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    assert refusal(small) == f"{small.file}: is not written, because {small.program} version: broken"


def test_a_problem_of_the_plan_has_its_place(small: SmallEngine) -> None:
    (small.directory / "main.conf").write_text("closed")
    assert refusal(small) == f"{small.directory}/main.conf:3: is closed"


def test_a_file_without_the_mark_is_not_replaced(small: SmallEngine) -> None:
    small.file.parent.mkdir()
    small.file.write_text("mine")
    assert refusal(small).startswith(f"{small.file}:1: was not written by runtimectl")


def test_a_link_in_place_of_the_file_is_refused_before_anything_is_checked(small: SmallEngine) -> None:
    write(small)
    small.file.rename(small.root / "managed")
    small.file.symlink_to(small.root / "managed")
    assert "is a symbolic link to" in refusal(small, table("refused"))


def test_an_engine_whose_directory_is_missing_is_not_installed(small: SmallEngine) -> None:
    small.directory.rmdir()
    with pytest.raises(NotInstalled, match=f"{small.directory}: does not exist, so small is not installed"):
        write(small)
    assert not small.directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root trusts nobody else")
def test_for_root_files_that_others_can_change_are_refused_with_mode_and_owner(small: SmallEngine) -> None:
    write(small)
    for path in (small.directory, small.file.parent, small.file):
        mode = path.stat().st_mode
        path.chmod(0o777)
        text = refusal(small, table("x"))
        assert text.startswith(f"{path}: is not used: it can be changed by")
        assert "(owner: user id 0, mode 0777)" in text
        path.chmod(mode)
    os.chown(small.file, 1234, 0)
    assert f"{small.file}: is not used: it belongs to user id 1234" in refusal(small, table("x"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_a_refusal(small: SmallEngine) -> None:
    write(small)
    small.directory.chmod(0o555)
    assert "cannot be read or written: permission denied" in refusal(small, table("x"))
    # An equal file needs no right to write.
    assert write(small).unchanged == [str(small.file)]
    small.directory.chmod(0o755)


def test_a_file_that_appears_while_the_run_waits_is_not_replaced(small: SmallEngine) -> None:
    def appear(step: str) -> None:
        if step == "stage":
            small.file.parent.mkdir()
            small.file.write_text("mine")

    with pytest.raises(ConfigurationRejected, match="was not written by runtimectl"):
        write(small, at_step=appear)
    assert small.file.read_text() == "mine"


def test_a_change_by_another_program_during_the_check_is_not_lost(small: SmallEngine) -> None:
    def change(step: str) -> None:
        if step == "check":
            (small.directory / "main.conf").write_text("changed")

    with pytest.raises(ConfigurationRejected, match=f"{small.directory}/main.conf: was changed by another program"):
        write(small, at_step=change)
    assert not small.file.exists()
    assert write(small).written


def test_the_rest_of_a_run_that_was_killed_at_its_end_is_removed(small: SmallEngine) -> None:
    write(small)
    (small.directory / STAGING / "check").mkdir(parents=True)
    (small.directory / STAGING / "check" / "x").touch()
    assert write(small).unchanged == [str(small.file)]
    assert os.listdir(small.directory) == ["conf.d"]


def test_an_engine_without_a_file_on_the_node_is_a_refusal(small: SmallEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallEngine, "writing", lambda _: None)
    assert refusal(small) == "small reads no file on this node"
