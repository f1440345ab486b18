"""Tests of the names of scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.table.launcher import make_launcher
from runtimed.core.table.script import is_intact, is_script_file, name_script
from runtimed.core.table.wrapper import make_wrapper

# Words that a configuration may hold: no NUL.
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@given(text=st.binary(max_size=40), other=st.binary(max_size=40))
def test_a_file_is_named_by_its_content(text: bytes, other: bytes) -> None:
    file = name_script("w", text)
    assert (file == name_script("w", other)) == (text == other)
    assert file.startswith("w-")
    assert is_script_file(file)
    assert is_intact(file, text)
    assert not is_intact(file, text + b"\n")


@given(program=WORDS, args=st.lists(WORDS, max_size=3), more=WORDS)
def test_the_text_of_a_script_is_always_the_one_that_names_its_file(program: str, args: list[str], more: str) -> None:
    scripts = make_wrapper("w", program, args), make_launcher("l", program, args, f"/t{more}", f"/p{more}", f"/s{more}")
    args.append("changed later")
    for script in scripts:
        assert is_intact(script.file, script.text)


@pytest.mark.parametrize("file", ["", "w", "w-", "-0123", "w-" + "0" * 31, "w-" + "G" * 32, "../" + "0" * 32])
def test_other_names_are_not_those_of_scripts(file: str) -> None:
    assert not is_script_file(file)
