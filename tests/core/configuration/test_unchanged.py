"""Tests of unchanged.py: a parse that skips unchanged entries has the outcome of a parse of everything."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass

import pytest
from harness.search_settings import searched
from hypothesis import given, target
from hypothesis import strategies as st

from runtimed.core.config import Config, Origin, Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import ConfigurationRejected

MAIN = "/etc/runtimed/daemon.json"
DEFAULTS = Settings("/data", "/exec", ("unix:///s",))

ENTRIES = (
    '"a": {"path": "/a"}',
    '"a": {"path": "/other"}',
    '"\\u0061": {"path": "/a"}',
    '"b": {\n  "path": "/b",\n  "runtimeArgs": ["--x", "y"]\n}',
    '"b": {"path": "/b", "runtimeArgs": ["--x",\n"y"]}',
    '"c": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/k.toml"}}',
    '"d": {"path": "/d", "engines": {"docker": {"k": [1, 2, {"z": null}]}}}',
    '"é→": {"path": "/ü"}',
    '"nvidia": {"args": [], "path": "/nvidia"}',
    '"bad": {"path": "/x", "runtimeType": "y"}',
    '"none": null',
    '"i": {"path": "/i}"}',
    '"j": {"path": "/j"}',
    '"k":\n{"path": "/k"}',
    '"a": {"path": "/a", "runtimeArgs": ["z"]}',
    '"runtimes": {"path": "/r"}',
    '"e": {"path": "/e", "engines": {"docker": {"runtimes": {"a": {"path": "/a"}, "x": 1}}}}',
)
HEADS = ("", "\n\n", '"debug": true, ', '"zzz": 1,\n', '"runtimed": {"retain": 3},', '"default-runtime": "b",\n')
PIECES = ("", ",", "{", "}", '"', "\n", "  ", "\t", ":", "é", "→", "1", '"a": {"path": "/a"},', '"runtimes": {', "\\")
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16-le", "utf-16-be")
MARKS = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
# Mostly entries without problems, and mostly no edit that breaks the text.
INDICES = st.lists(st.sampled_from([*range(8), *range(11, 17)]) | st.integers(0, len(ENTRIES) - 1), max_size=10)
EDITS: st.SearchStrategy[list[tuple[int, int, str]]] = st.just([]) | st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.sampled_from(PIECES)), max_size=2
)


@dataclass(frozen=True)
class Text:
    """One file: its entries in order, the text around them, edits anywhere in it, and its encoding."""

    head: str
    entries: list[int]
    separator: str
    edits: list[tuple[int, int, str]]
    encoding: str

    def source(self, path: str) -> Source:
        text = f'{{{self.head}"runtimes": {{{self.separator.join(ENTRIES[index] for index in self.entries)}}}\n}}'
        for position, length, piece in self.edits:
            text = text[:position] + piece + text[position + length :]
        return Source(path, MARKS.get(self.encoding, b"") + text.encode(self.encoding))


TEXTS = st.builds(
    Text,
    st.sampled_from(HEADS),
    INDICES,
    st.sampled_from([", ", ",\n", ",\n", "\n,"]),
    EDITS,
    st.sampled_from(ENCODINGS),
)
FLAGS = st.sampled_from([Flags(), Flags(), Flags(), Flags(runtimes=("a=/flag",)), Flags({"debug": True})])


def documents(texts: list[Text]) -> Documents:
    sources = [text.source(f"/etc/{index}.json" if index else MAIN) for index, text in enumerate(texts)]
    return Documents(MAIN, sources[0] if sources else None, tuple(sources[1:]))


def outcome(
    given_documents: Documents, flags: Flags, most: int | None, previous: Config | None
) -> tuple[Config | None, tuple[object, ...]]:
    """Return the configuration, None if it is rejected, and everything that two outcomes must share."""
    try:
        config = parse_configuration(given_documents, flags, DEFAULTS, most=most, previous=previous)
    except ConfigurationRejected as rejection:
        return None, (rejection.problems, rejection.omitted, rejection.remarks)
    return config, (config, tuple(config.runtimes), tuple(config.origins), config.default_at)


@searched(500)
@given(st.lists(st.tuples(st.lists(TEXTS, max_size=3), FLAGS, st.sampled_from([None, None, 30, 60])), max_size=4))
def test_a_parse_with_the_previous_configuration_has_the_outcome_of_one_without(
    steps: list[tuple[list[Text], Flags, int | None]],
) -> None:
    previous: Config | None = None
    skipped = 0
    for texts, flags, most in steps:
        found = documents(texts)
        config, seen = outcome(found, flags, most, previous)
        assert seen == outcome(found, flags, most, None)[1]
        if config is not None:
            known = previous.runtimes.items() if previous is not None else ()
            skipped += sum(config.runtimes.get(name) is definition for name, definition in known)
            previous = config
    target(float(skipped), label="unchanged entries")


def main(*entries: str, above: str = "") -> Documents:
    text = f'{{{above}"runtimes": {{{", ".join(entries)}}}}}'
    return Documents(MAIN, Source(MAIN, text.encode()))


def entry(name: str, path: str) -> str:
    return f'"{name}": {json.dumps({"path": path})}'


NAMES = [f"r{number}" for number in range(100)]
PLAIN = [entry(name, f"/{name}") for name in NAMES]


def unchanged(before: Documents, after: Documents) -> tuple[Config, Config, list[str]]:
    """Return both configurations, and the runtimes that are the same objects in both."""
    old = parse_configuration(before, Flags(), DEFAULTS)
    new = parse_configuration(after, Flags(), DEFAULTS, previous=old)
    assert new == parse_configuration(after, Flags(), DEFAULTS)
    return old, new, [name for name, definition in new.runtimes.items() if old.runtimes.get(name) is definition]


def test_all_other_entries_are_skipped_when_some_change_move_come_and_go() -> None:
    after = [*PLAIN[90:], entry("new", "/new"), *PLAIN[:20], entry("r20", "/x"), *PLAIN[21:50], *PLAIN[55:90]]
    *_, same = unchanged(main(*PLAIN), main(*after))
    assert sorted(same) == sorted({*NAMES[:20], *NAMES[21:50], *NAMES[55:]})


def test_an_entry_that_only_moved_has_the_same_definition_and_another_line() -> None:
    old, new, same = unchanged(main(*PLAIN), main(*PLAIN, above="\n\n"))
    assert same == NAMES
    assert new.origins["r7"] == Origin(MAIN, 3, (("path", 0),))
    again = parse_configuration(main(*PLAIN), Flags(), DEFAULTS, previous=old)
    assert all(again.origins[name] is old.origins[name] for name in NAMES)


def test_entries_of_a_document_with_a_remark_or_an_overridden_runtime_are_all_read() -> None:
    remarked = main(*PLAIN, '"nvidia": {"path": "/n", "args": []}')
    assert unchanged(remarked, remarked)[2] == []
    flags = Flags(runtimes=("r1=/flag",))
    assert not parse_configuration(main(*PLAIN), flags, DEFAULTS).parsed


def test_a_flag_that_is_new_overrides_an_unchanged_entry() -> None:
    old = parse_configuration(main(*PLAIN), Flags(), DEFAULTS)
    flags = Flags(runtimes=("r1=/flag",))
    assert parse_configuration(main(*PLAIN), flags, DEFAULTS, previous=old).runtimes["r1"].path == "/flag"


def test_only_the_entries_of_the_object_runtimes_itself_are_skipped() -> None:
    carried = '"e": {"path": "/e", "engines": {"docker": {"runtimes": {' + PLAIN[0] + "}}}}"
    *_, same = unchanged(main(*PLAIN), main(*PLAIN, carried))
    assert same == NAMES


def test_unchanged_entries_count_as_values() -> None:
    old = parse_configuration(main(*PLAIN), Flags(), DEFAULTS)
    # The document, `runtimes`, and two values for each entry.
    assert parse_configuration(main(*PLAIN), Flags(), DEFAULTS, most=202, previous=old) == old
    with pytest.raises(ConfigurationRejected, match="at most 201 values"):
        parse_configuration(main(*PLAIN), Flags(), DEFAULTS, most=201, previous=old)


def test_an_unchanged_entry_that_appears_twice_is_a_problem_with_its_place() -> None:
    old = parse_configuration(main(*PLAIN), Flags(), DEFAULTS)
    with pytest.raises(ConfigurationRejected, match='the key "r5" appears twice') as caught:
        parse_configuration(main(*PLAIN, PLAIN[5]), Flags(), DEFAULTS, previous=old)
    assert caught.value.problems[0].pointer == "/runtimes/r5"
