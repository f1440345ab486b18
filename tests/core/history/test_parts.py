"""Tests of parts: those of an incremental division equal those of a division from scratch."""

from __future__ import annotations

import json

import pytest
from harness.generation import carried_keys, generation_of
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.history.parts import make_partition, read_part
from runtimed.core.table.build import build_generation
from runtimed.core.table.generation import Generation, links_of
from runtimed.core.table.runtime_changes import find_changes

NAMES = [f"r{number}" for number in range(400)]
# Names with their arguments; more than 128 make several parts.
TABLES = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from("xyz"), max_size=20),
    st.builds(
        lambda count, changes: dict.fromkeys(NAMES[:count], "x") | changes,
        st.sampled_from((126, 127, 255, 256, 400)),
        st.dictionaries(st.sampled_from(NAMES), st.sampled_from("yz"), max_size=5),
    ),
)


def built(table: dict[str, str], previous: Generation | None = None) -> Generation:
    entries = {name: {"path": "/x", "runtimeArgs": [word]} for name, word in table.items()}
    found = generation_of({"runtimes": entries, "default-runtime": "runc"})
    return build_generation(found.config, found.host, 2, previous)


@pytest.mark.timeout(300)
@given(st.lists(TABLES, min_size=2, max_size=4))
def test_parts_that_are_divided_incrementally_equal_those_from_scratch(tables: list[dict[str, str]]) -> None:
    old = built(tables[0])
    partition, known = make_partition(old.runtimes)
    for table in tables[1:]:
        new = built(table, old)
        changes = find_changes(old.runtimes, new.runtimes)
        partition, texts = make_partition(new.runtimes, changes.names, partition)
        known |= texts
        scratch, all_texts = make_partition(new.runtimes)
        assert partition == scratch
        assert all_texts.items() <= known.items()
        old = new


@pytest.mark.timeout(300)
@given(TABLES, TABLES)
def test_the_changes_turn_the_old_runtimes_into_the_new_ones(before: dict[str, str], after: dict[str, str]) -> None:
    old = built(before)
    new = built(after, old)
    changes = find_changes(old.runtimes, new.runtimes)
    left = [runtime for runtime in old.runtimes.values() if all(runtime is not each for each in changes.old)]
    assert sorted((*left, *changes.new), key=lambda each: each.name) == list(new.runtimes.values())
    assert len(changes.names) == sum(before.get(name) != after.get(name) for name in {*before, *after})


def test_a_change_renders_one_part_of_about_a_hundred_runtimes() -> None:
    table = {f"n{number}": "x" for number in range(1000)}
    old = built(table)
    partition, texts = make_partition(old.runtimes)
    assert len(texts) == 8
    assert all(64 <= len(names) <= 160 for names in partition.names)
    new = built(table | {"n7": "y"}, old)
    changes = find_changes(old.runtimes, new.runtimes)
    assert changes.names == {"n7"}
    after, texts = make_partition(new.runtimes, changes.names, partition)
    assert len(texts) == 1
    assert len({*after.digests} - {*partition.digests}) == 1


def test_a_part_has_everything_of_its_runtimes_but_the_number() -> None:
    entries = {
        "a/b": {"path": "/x", "runtimeArgs": ["'"], "engines": {"docker": {"k": [1]}}},
        "t": {"runtimeType": "k.v1"},
    }
    generation = generation_of({"runtimes": entries}, 42)
    (digest,), texts = make_partition(generation.runtimes)[0].digests, make_partition(generation.runtimes)[1]
    part = read_part(texts[digest], digest)
    answers = {n: json.loads(runtime.answer.at(42)) for n, runtime in generation.runtimes.items()}
    assert {name: {**answer, "generation": 42} for name, answer in part.answers.items()} == answers
    assert list(part.answers["t"]) == list(answers["t"])
    assert (part.links, part.engines) == (links_of(generation.runtimes.values()), carried_keys(generation))
    assert part.targets == {link: runtime.target for link, runtime in generation.launchers.items()}
    assert part.names == {link: runtime.name for link, runtime in generation.launchers.items()}
    assert sorted(part.files("/data")) == sorted(script.file for script in generation.scripts)


def test_other_bytes_are_no_part() -> None:
    partition, texts = make_partition(built({"a": "x"}).runtimes)
    (digest,) = partition.digests
    for data in (b"", texts[digest][:-1], texts[digest].replace(b"runc", b"evil")):
        with pytest.raises(ValueError, match="does not have the content"):
            read_part(data, digest)
