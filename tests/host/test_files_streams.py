"""Tests of documents from pipes and descriptors, and of drop-ins that are links to /dev/null."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

import pytest

from runtimed.core.configuration.inputs import Source
from runtimed.host.files import is_stream, read_documents, read_stream
from runtimed.host.trust import Trust, walk

WALK = partial(walk, trust=Trust(frozenset({0, os.geteuid()})))


def test_a_pipe_is_read_through_its_descriptor_and_its_name(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"{}")
    os.close(writing)
    path = f"/dev/fd/{reading}"
    assert is_stream(path)
    assert read_stream(path, 100).main == Source(path, b"{}")
    os.close(reading)
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(b"[]",))
    writer.start()
    assert is_stream(str(tmp_path / "fifo"))
    assert read_stream(str(tmp_path / "fifo"), 100).main == Source(str(tmp_path / "fifo"), b"[]")
    writer.join()


def test_a_stream_that_is_unreadable_or_too_long_is_a_problem() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"{  }")
    os.close(writing)
    (problem,) = read_stream(f"/proc/self/fd/{reading}", 3).problems
    assert "more than 3 bytes" in problem.message
    os.close(reading)
    (problem,) = read_stream(f"/dev/fd/{reading}", 3).problems
    assert "cannot be read: bad file descriptor" in problem.message


@pytest.mark.parametrize("name", ["file", "missing", "directory", "nul\0"])
def test_files_and_missing_paths_are_not_streams(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("{}")
    (tmp_path / "directory").mkdir()
    assert not is_stream(f"{tmp_path}/{name}")


@pytest.mark.parametrize("target", ["/dev/null", "../dev-null"])
def test_a_dropin_that_is_a_link_to_the_null_device_is_empty(tmp_path: Path, target: str) -> None:
    (tmp_path / "dev-null").symlink_to("/dev/null")
    dropins = tmp_path / "d"
    dropins.mkdir()
    (dropins / "10.json").symlink_to(target)
    (dropins / "20.json").write_text("{}")
    found = read_documents(str(tmp_path / "main"), str(dropins), WALK).documents
    assert found.problems == ()
    assert found.dropins == (Source(f"{dropins}/10.json", b"{}"), Source(f"{dropins}/20.json", b"{}"))
    alone = read_documents(f"{dropins}/10.json", None, WALK, dropin=True).documents
    assert alone.main == Source(f"{dropins}/10.json", b"{}")


def test_a_main_file_is_not_masked(tmp_path: Path) -> None:
    (tmp_path / "main").symlink_to("/dev/null")
    assert read_documents(str(tmp_path / "main"), None, WALK).documents.problems


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_link_of_another_user_masks_nothing(tmp_path: Path) -> None:
    (tmp_path / "10.json").symlink_to("/dev/null")
    os.chown(tmp_path / "10.json", 12345, 12345, follow_symlinks=False)
    (problem,) = read_documents(str(tmp_path / "main"), str(tmp_path), WALK).documents.problems
    assert "belongs to user id 12345" in problem.message
