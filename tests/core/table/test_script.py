"""Tests of the names of scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.table.script import is_intact, is_script_file, make_script

HEAD, TAIL = st.binary(max_size=20), st.binary(max_size=20)


@given(head=HEAD, tail=TAIL, other=st.binary(max_size=40))
def test_a_file_is_named_by_its_content(head: bytes, tail: bytes, other: bytes) -> None:
    script, whole, changed = make_script("w", head, tail), make_script("w", head + tail), make_script("w", other)
    assert script.text == head + tail
    assert script.file == whole.file
    assert (script.file == changed.file) == (script.text == other)
    assert script.file.startswith("w-")
    assert is_script_file(script.file)
    assert is_intact(script.file, script.text)
    assert not is_intact(script.file, script.text + b"\n")


@pytest.mark.parametrize("file", ["", "w", "w-", "-0123", "w-" + "0" * 31, "w-" + "G" * 32, "../" + "0" * 32])
def test_other_names_are_not_those_of_scripts(file: str) -> None:
    assert not is_script_file(file)
