from __future__ import annotations

import re

import pytest
from harness.generation import manifest_of
from hypothesis import example, given
from hypothesis import strategies as st

from runtimed.core.config import Config, Definition, Settings
from runtimed.core.containerd.names import file_name, is_permissible_shim_name, shim_binary_name
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Host

# Any text that a configuration can hold: JSON without NUL and without lone surrogates.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=400)
# Few letters, so that names come near each other.
NEAR = st.text("aA.%~-/b_5f2B\u00e9\u00c9\u0131\u212a", min_size=1, max_size=5)
HOSTILE = (
    *(
        "config.json",
        "manifest.json",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        "./a",
        "a/../b",
        ".tmp-x",
        "lock",
        "VERSION",
    ),
    *(
        "a",
        "A",
        "%",
        "%2f",
        "%2F",
        "%61",
        "~",
        "a~",
        "a%7eb",
        "-",
        "-rf",
        " ",
        "\n",
        "a\nb",
        "é",
        "É",
        "ß",
        "SS",
        "ss",
        "ﬁ",
    ),
    *(
        "K",
        "\u212a",
        "k",
        "e\u0301",
        "\u202e",
        "\ufeff",
        "x" * 100,
        "x" * 101,
        "x" * 300,
        "X" * 300,
        "x" * 299 + "y",
        "é" * 300,
    ),
)


@given(name=st.one_of(NAMES, NEAR, st.sampled_from(HOSTILE)))
def test_a_file_name_is_harmless(name: str) -> None:
    file = file_name(name)
    assert re.fullmatch(r"[a-z0-9_%~-][a-z0-9_.%~-]{0,99}", file), file
    # Nothing that folds case or normalises finds anything to fold.
    assert file == file.casefold()


@given(names=st.sets(st.one_of(NAMES, NEAR, st.sampled_from(HOSTILE)), min_size=2))
@example(names=set(HOSTILE))
def test_no_two_names_share_a_file_name(names: set[str]) -> None:
    assert len({file_name(name).casefold() for name in names}) == len(names)


@given(stem=st.sampled_from("aé.%"), size=st.integers(90, 320))
def test_similar_long_names_have_different_file_names(stem: str, size: int) -> None:
    names = {
        stem * size,
        stem * size + "a",
        stem * size + "b",
        stem * size + "A",
        (stem * size).swapcase(),
        stem * (size + 1),
    }
    assert len({file_name(name) for name in names}) == len(names)


@given(name=st.one_of(NAMES, NEAR, st.sampled_from(HOSTILE)))
def test_a_name_that_equals_an_escaped_file_name_gets_another_file(name: str) -> None:
    file = file_name(name)
    assert (file_name(file) == file) == (file == name)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("runsc", "runsc"),
        ("gvisor-debug_2.0", "gvisor-debug_2.0"),
        ("config.json", "config.json"),  # the directory of links holds only links
        (".", "%2e"),
        ("..", "%2e."),
        ("a/b", "a%2fb"),
        ("A", "%41"),
        ("%41", "%2541"),
        ("~", "%7e"),
        ("é", "%c3%a9"),
        ("x" * 100, "x" * 100),
    ],
)
def test_a_file_name_is_readable(name: str, file: str) -> None:
    assert file_name(name) == file


@given(names=st.sets(st.one_of(NAMES, NEAR, st.sampled_from(HOSTILE)), min_size=1, max_size=30))
@example(names=set(HOSTILE))
def test_the_manifest_maps_file_names_to_names(names: set[str]) -> None:
    names -= {"runc"}
    definitions = {name: Definition(name, "/bin/x", (name,)) for name in names}
    settings = Settings(data_root="/data", exec_root="/run", hosts=())
    host = Host(Facts(cgroup2=True, systemd=True, ramdisk=False), "/data", "/run")
    generation = build_generation(Config("/daemon.json", settings, definitions), host, 1)
    (part,) = manifest_of(generation).parts.values()
    assert sorted(part.names.values()) == sorted(names)
    for link, name in part.names.items():
        runtime = generation.runtimes[name]
        assert runtime.launcher is not None
        assert runtime.wrapper is not None
        assert runtime.launcher.file == part.links[link]
        for script in (runtime.wrapper, runtime.launcher):
            assert script.link == link
            assert script.file.startswith(f"{link}-")
            assert len(script.file) <= 143  # the limit of eCryptfs, the lowest of all Linux file systems
            assert "/" not in script.file


@pytest.mark.parametrize(
    ("name", "permissible"),
    [
        ("io.containerd.kata.v2", True),
        ("a.b", True),
        ("a.", True),
        ("a..", True),
        ("_a.b", True),
        ("a" * 127 + ".", True),
        ("a" * 128 + ".", False),  # too long
        ("nodot", False),  # unknown rather than a shim
        ("", False),
        (".x", False),  # containerd refuses a leading dot from 1.7
        ("..", False),
        ("-a.b", False),  # an option on a command line
        ("a/b.c", False),  # a path: containerd would execute it as root
        ("io.containerd.runc.v2 --privileged", False),
        ("a.b\n", False),
        ("a.b\0", False),
        ("é.b", False),
        ("a.\u0661", False),  # a digit, but not of ASCII
    ],
)
def test_only_plain_names_are_permissible_shim_names(name: str, *, permissible: bool) -> None:
    assert is_permissible_shim_name(name) is permissible


@given(name=st.one_of(NAMES, NEAR))
def test_a_permissible_name_is_one_shell_word(name: str) -> None:
    if is_permissible_shim_name(name):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", name)
        assert not name.startswith(("-", "."))


@pytest.mark.parametrize(
    ("shim", "binary"),
    [
        ("io.containerd.runc.v2", "containerd-shim-runc-v2"),
        ("io.containerd.kata.v2", "containerd-shim-kata-v2"),
        ("a.b", "containerd-shim-a-b"),
        ("/opt/bin/containerd-shim-x", "/opt/bin/containerd-shim-x"),
        ("nodot", ""),  # containerd finds no binary for it
        ("", ""),
        ("a.", ""),
    ],
)
def test_the_binary_of_a_shim_is_named_by_the_rule_of_containerd(shim: str, binary: str) -> None:
    assert shim_binary_name(shim) == binary
