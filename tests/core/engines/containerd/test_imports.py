"""Tests of containerd's imports: Go's patterns, and one file replaced among those that are read."""

from __future__ import annotations

import pytest

from runtimed.core.engines.containerd.imports import DIRECTORY, absolute, names, replace_import

FILE = f"{DIRECTORY}/50-runtimed.toml"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("/etc/containerd/conf.d/*.toml", True),
        # Relative to the main file's directory, and cleaned as Go does it.
        ("conf.d/*.toml", True),
        ("./conf.d/..//conf.d/./50-runtimed.toml", True),
        ("conf.d/*", True),
        ("conf.d/5?-*", True),
        ("conf.d/[0-9]*", True),
        ("conf.d/[^0-4]*", True),
        ("conf.d/[^5]*", False),
        # Python's fnmatch negates with an exclamation mark, Go does not.
        ("conf.d/[!5]*", True),
        ("conf.d/[!4]*", False),
        ("conf.d/50\\-runtimed*", True),
        ("conf.d/[a&&5]0*", True),
        ("conf.d/[\\]5]*", True),
        # To containerd, only a path with an asterisk is a pattern.
        ("conf.d/5?-runtimed.toml", False),
        # An asterisk matches no slash.
        ("*/50-runtimed.toml", False),
        ("/etc/*.toml", False),
        ("*.toml", False),
        ("conf.d/*.conf", False),
        ("conf.d/*-runtimed", False),
        ("conf.d/50-runtimed.tomlx*", False),
        ("conf.d/50-runtimed?toml*", True),
        ("conf.d/5*(", False),
        # Malformed: containerd refuses it.
        ("conf.d/[9-0]*", False),
        ("conf.d/[*", False),
    ],
)
def test_an_entry_names_the_files_that_go_finds(entry: str, expected: bool) -> None:
    assert names(absolute(entry), FILE) is expected


def test_the_new_file_takes_the_place_of_the_old_one() -> None:
    there = [f"{DIRECTORY}/{name}" for name in ("99-last.toml", "notes", "10-first.toml", "50-runtimed.toml")]
    entries = ["more.toml", "conf.d/*.toml", "/etc/x/*.toml", "conf.d/50-runtimed.toml"]
    first, last = f"{DIRECTORY}/10-first.toml", f"{DIRECTORY}/99-last.toml"
    around = ["/etc/containerd/more.toml", first], [last, "/etc/x/*.toml"]
    assert replace_import(entries, there, FILE, "/new.toml") == [*around[0], "/new.toml", *around[1], "/new.toml"]
    assert replace_import(entries, there, FILE, None) == [*around[0], *around[1]]
    # Before the first export, there is no old one.
    assert replace_import(entries, there[:3], FILE, "/new.toml") == [
        *around[0],
        "/new.toml",
        *around[1],
        "/new.toml",
    ]
