"""Tests of the merge of the table into daemon.json."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any

import pytest
from harness.engine_tables import node_generation, table_of
from harness.json_texts import json_objects, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.engines import load_engine
from runtimed.core.engines.docker.plan import FILE, RECORD
from runtimed.core.engines.docker.write import write_docker
from runtimed.core.engines.engine import ExportOptions, Found, Plan, Run
from runtimed.core.errors import ConfigurationRejected

WRITING = load_engine("docker").writing
NEW = "Docker version 28.5.2+dfsg4, build 89c5e8f\n"
OLD = "Docker version 20.10.24+dfsg1, build 5d6db84\n"
KATA = {"runtimeType": "io.containerd.kata.v2"}


def configuration(*names: str, default: str = "runc", **entries: Mapping[str, object]) -> dict[str, Any]:
    """Return a configuration of runtimed: ``names`` are runtimes with a path."""
    runtimes = {name: {"path": f"/usr/bin/{len(name)}"} for name in names}
    return {"runtimes": {**runtimes, **entries}, "default-runtime": default}


class Node:
    """The files of a node."""

    def __init__(self, text: str | bytes | None = None, version: str | None = NEW) -> None:
        self.files: dict[str, bytes] = {}
        self.version = version
        self.command_line: tuple[str, ...] = ("/usr/bin/dockerd", "-H", "fd://", "--add-runtime", "x=/x")
        if text is not None:
            self.files[FILE] = text.encode() if isinstance(text, str) else text

    def plan(self, document: Mapping[str, Any]) -> Plan:
        assert WRITING is not None
        return WRITING.plan(
            table_of(node_generation(document)),
            ExportOptions(),
            Found(self.files, self.version, "/scratch", self.command_line),
        )

    def export(self, document: Mapping[str, Any], steps: int | None = None) -> Node:
        """Write the files, or only the first ``steps`` of the plan."""
        for write in self.plan(document).writes[:steps]:
            self.files[write.path] = write.data
        return self

    def refused(self, document: Mapping[str, Any]) -> list[str]:
        with pytest.raises(ConfigurationRejected) as caught:
            self.plan(document)
        return [str(problem) for problem in caught.value.problems]

    @property
    def text(self) -> str:
        return self.files[FILE].decode()

    @property
    def value(self) -> dict[str, Any]:
        return dict(json.loads(self.files[FILE]))

    @property
    def record(self) -> dict[str, Any]:
        return {key: value for key, value in json.loads(self.files[RECORD]).items() if key != "comment"}


def path_of(name: str) -> dict[str, str]:
    return {"path": f"/data/runtimes/{name}"}


MERGED = """{
    "log-driver": "journald",
    "runtimes": {
        "crun": {
            "path": "/data/runtimes/crun"
        }
    },
    "default-runtime": "crun"
}
"""


def test_the_table_is_merged_into_a_file_with_other_settings() -> None:
    node = Node('{\n    "log-driver": "journald"\n}\n').export(configuration("crun", default="crun"))
    assert node.text == MERGED
    assert node.record == {"runtimes": {"crun": [path_of("crun")]}, "default-runtime": ["crun"]}


def test_the_record_says_to_people_what_it_is() -> None:
    node = Node().export(configuration("crun"))
    assert "Do not edit" in json.loads(node.files[RECORD])["comment"]


def test_a_missing_file_is_made() -> None:
    node = Node().export(configuration("crun"))
    assert node.value == {"runtimes": {"crun": path_of("crun")}, "default-runtime": "runc"}
    assert node.text.endswith("\n}\n")


def test_a_changed_and_a_dropped_runtime_of_ours_are_changed_and_removed() -> None:
    node = Node('{"runtimes": {"mine": {"path": "/m"}}}').export(configuration("crun", "kata", default="crun"))
    node.export(configuration(kata=KATA, default="kata"))
    assert node.text == (
        '{"runtimes": {"mine": {"path": "/m"}, "kata": {"runtimeType": "io.containerd.kata.v2"}}, '
        '"default-runtime": "kata"}'
    )
    assert node.record == {"runtimes": {"kata": [KATA]}, "default-runtime": ["kata"]}
    # dockerd keeps the runtimes and the default runtime that it has if it reloads a file without these keys.
    node.export(configuration())
    assert node.text == '{"runtimes": {"mine": {"path": "/m"}}, "default-runtime": "runc"}'


def test_the_key_runtimes_stays_when_the_last_runtime_is_removed() -> None:
    node = Node("{}").export(configuration("crun")).export(configuration())
    assert node.value == {"runtimes": {}, "default-runtime": "runc"}


@pytest.mark.parametrize("text", ["{}", '{"runtimes": null}', "null", '{"a": 1}'])
def test_runtimes_are_added_only_where_the_table_has_some(text: str) -> None:
    assert Node(text).export(configuration()).value.get("runtimes") is None


def test_an_equal_entry_of_others_is_left_and_not_recorded() -> None:
    text = '{"default-runtime": "crun", "runtimes": {"crun": {"path": "/data/runtimes/crun"}}}'
    node = Node(text).export(configuration("crun", default="crun"))
    assert node.text == text
    assert RECORD not in node.files


@pytest.mark.parametrize(
    "theirs", ['{"path": "/usr/bin/crun"}', "null", "[]", '{"path": "/data/runtimes/crun", "a": 1}']
)
def test_another_entry_of_that_name_is_refused_with_its_place_and_the_way_out(theirs: str) -> None:
    (problem,) = Node(f'{{\n  "runtimes": {{\n    "crun": {theirs}\n  }}\n}}').refused(configuration("crun"))
    assert problem == (
        f"{FILE}:3:5: /runtimes/crun: runtimectl did not write this entry, {theirs}, and the table has another runtime "
        f"of this name; remove it (`runtimectl import docker {FILE}` translates it for runtimed) or rename it"
    )


def test_an_entry_of_ours_that_was_edited_is_not_ours_any_more() -> None:
    node = Node().export(configuration("crun", "kata"))
    edited = node.text.replace("/data/runtimes/crun", "/opt/crun")
    node.files[FILE] = edited.encode()
    assert len(node.refused(configuration("crun", "kata"))) == 1
    node.export(configuration("kata"))
    assert node.text == edited
    assert node.record["runtimes"] == {"kata": [path_of("kata")]}


def test_another_default_runtime_is_refused_with_its_place_and_the_way_out() -> None:
    (problem,) = Node('{\n "default-runtime": "nvidia"}').refused(configuration("crun", default="crun"))
    assert problem == (
        f'{FILE}:2:2: /default-runtime: runtimectl did not write this value, "nvidia", and the table\'s default '
        "runtime is crun; remove it, or make it the default runtime of runtimed"
    )


def test_a_long_value_is_cut_in_a_message() -> None:
    (problem,) = Node(json.dumps({"runtimes": {"crun": {"path": "x" * 5000}}})).refused(configuration("crun"))
    assert len(problem) < 600


def test_all_entries_in_the_way_are_named_at_once() -> None:
    text = '{"runtimes": {"a": {}, "b": {}}, "default-runtime": "b"}'
    assert len(Node(text).refused(configuration("a", "b"))) == 3


def test_a_null_is_no_default_runtime() -> None:
    assert Node('{"default-runtime": null}').export(configuration()).text == '{"default-runtime": "runc"}'


class TestVersion:
    def test_what_an_old_dockerd_cannot_run_is_left_out_until_it_is_upgraded(self) -> None:
        document = configuration("crun", kata=KATA, default="crun")
        node = Node("{}", OLD)
        assert [remark.pointer for remark in node.plan(document).remarks] == ["/runtimes/kata"]
        assert node.export(document).value["runtimes"] == {"crun": path_of("crun")}
        node.version = NEW
        assert node.export(document).value["runtimes"] == {"crun": path_of("crun"), "kata": KATA}

    def test_runc_replaces_a_default_runtime_of_ours_that_cannot_be_written_any_more(self) -> None:
        # dockerd 20.10 crashes at a reload when its default runtime is gone, and later ones refuse the reload.
        node = Node("{}", OLD).export(configuration("kata", default="kata"))
        node.export(configuration(kata=KATA, default="kata"))
        assert node.value == {"runtimes": {}, "default-runtime": "runc"}
        assert node.plan(configuration(kata=KATA, default="kata")).writes[0].data == node.files[FILE]

    def test_no_default_runtime_is_added_where_the_table_s_cannot_be_written(self) -> None:
        document = configuration("crun", kata=KATA, default="kata")
        assert "default-runtime" not in Node("{}", OLD).export(document).value
        theirs = Node('{"default-runtime": "mine"}', OLD).export(document).value
        assert theirs["default-runtime"] == "mine"

    def test_a_default_runtime_of_others_that_would_lead_nowhere_is_refused(self) -> None:
        node = Node("{}", OLD).export(configuration("kata"))
        node.files[FILE] = json.dumps({**node.value, "default-runtime": "kata"}).encode()
        del node.files[RECORD]
        node.files[RECORD] = json.dumps({"runtimes": {"kata": [path_of("kata")]}, "default-runtime": []}).encode()
        (problem,) = node.refused(configuration(kata=KATA, default="kata"))
        assert "/default-runtime: names a runtime that the table no longer has" in problem

    def test_dockerd_checks_the_new_file(self) -> None:
        plan = Node("{}").plan(configuration("crun"))
        assert plan.checks == (Run(("dockerd", "--validate", "--config-file", "/scratch/daemon.json")),)
        assert plan.scratch == {"daemon.json": next(write.data for write in plan.writes if write.path == FILE)}
        assert plan.unknown == "unknown flag: --validate"

    def test_no_check_is_needed_without_a_change_or_possible_without_dockerd(self) -> None:
        document = configuration("crun")
        assert Node("{}").export(document).plan(document).checks == ()
        assert Node("{}", None).plan(document).checks == ()
        assert "kata" in Node("{}", None).export(configuration(kata=KATA)).value["runtimes"]


@pytest.mark.parametrize("words", [("--default-runtime", "nvidia"), ("--default-runtime=nvidia",)])
def test_a_flag_that_would_conflict_with_the_file_at_the_next_start_is_refused(words: tuple[str, ...]) -> None:
    node = Node("{}")
    node.command_line += words
    (problem,) = node.refused(configuration())
    assert problem == (
        f"{FILE}: dockerd runs with the flag --default-runtime, and would not start with a default-runtime in this "
        "file as well; remove the flag, from the unit of dockerd for example"
    )


@pytest.mark.parametrize("words", [("--config-file", "/etc/other.json"), ("--config-file=/etc/other.json",)])
def test_a_dockerd_that_runs_with_another_file_is_a_remark(words: tuple[str, ...]) -> None:
    node = Node("{}")
    assert node.plan(configuration()).remarks == ()
    node.command_line += ("--config-file", FILE)
    assert node.plan(configuration()).remarks == ()
    node.command_line = ("/usr/bin/dockerd", *words)
    text = "/usr/bin/dockerd runs with --config-file /etc/other.json, and reads this file only if that one is a link"
    (remark,) = node.plan(configuration()).remarks
    assert str(remark) == f"{FILE}: {text} to it"
    assert node.export(configuration()).plan(configuration()).remarks == (remark,)


class TestBrokenFiles:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ('{\n "a": 1,\n}', ":2:8: "),
            ("", ": "),
            ("[]", ":1:1: "),
            ('{"a": 1,\n "a": 2}', ":2:2: /a: "),
            ('{"runtimes": {"x": {},\n "x": {}}}', ":2:2: /runtimes/x: "),
            ('{"runtimes": []}', ":1:14: /runtimes: "),
            ('{"a": "\ufffe"', ":1:"),
            (b'{"a": "\xff"}', ":1:8: "),
        ],
    )
    def test_a_file_that_dockerd_would_not_read_is_refused_with_its_place(self, text: str | bytes, place: str) -> None:
        (problem,) = Node(text).refused(configuration("crun"))
        assert problem.startswith(FILE + place)

    @pytest.mark.parametrize("record", ["{", "[]", "{}", '{"runtimes": {"crun": 1}}', '{"runtimes": {}}'])
    def test_a_broken_record_is_refused_with_its_place(self, record: str) -> None:
        node = Node().export(configuration("crun"))
        node.files[RECORD] = record.encode()
        (problem,) = node.refused(configuration("crun"))
        assert problem.startswith(f"{RECORD}:1:")

    def test_without_a_record_runtimectl_owns_no_entry(self) -> None:
        node = Node().export(configuration("crun", "kata"))
        before = node.text
        del node.files[RECORD]
        node.export(configuration("crun", "kata"))
        node.export(configuration("crun"))
        assert node.text == before


MARKS = {"utf-8": b"", "utf-8-sig": b"", "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
OURS = st.dictionaries(
    st.sampled_from(["crun", "kata", "ü/ \n", "a.b", "{", "x\u202e"]),
    st.sampled_from([{"path": "/usr/bin/x"}, KATA, {**KATA, "options": {"ConfigPath": "/{"}}]),
    max_size=3,
)


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, Any], bytes, str]:
    """Return the value of a daemon.json, its bytes, and their encoding."""
    value = draw(json_objects())
    value.pop("default-runtime", None)
    runtimes = draw(
        st.none() | json_objects().map(lambda entries: {f"their {name}": entries[name] for name in entries})
    )
    value["runtimes"] = runtimes
    if runtimes is None and draw(st.booleans()):
        del value["runtimes"]
    value = dict(draw(st.permutations(list(value.items()))))
    encoding = draw(st.sampled_from(sorted(MARKS)))
    return value, MARKS[encoding] + draw(texts_of(value)).encode(encoding), encoding


def exported(ours: Mapping[str, Any]) -> dict[str, Any]:
    return dict(write_docker(table_of(node_generation({"runtimes": ours}))).document)


def decoded(data: bytes, encoding: str) -> str:
    return data.removeprefix(MARKS[encoding]).decode(encoding)


@settings(deadline=None)
@given(files(), OURS, OURS)
def test_a_merge_adds_the_table_and_keeps_every_other_byte(
    file: tuple[dict[str, Any], bytes, str], ours: dict[str, Any], later: dict[str, Any]
) -> None:
    value, data, encoding = file
    node = Node(data)
    for table in (ours, later):
        node.export({"runtimes": table})
        text = decoded(node.files[FILE], encoding)
        wanted = exported(table)
        runtimes = {**(value.get("runtimes") or {}), **wanted["runtimes"]}
        merged = json.loads(text)
        assert merged == {**value, **wanted, "runtimes": runtimes} or (
            not runtimes and merged == {**value, "default-runtime": "runc"}
        )
        if value.get("runtimes") is not None:
            rest = iter(node.files[FILE])
            assert all(byte in rest for byte in data), "something is missing"
        # The second time it is the same, without a write.
        plan = node.plan({"runtimes": table})
        assert [(write.path, write.data) for write in plan.writes] == [(FILE, node.files[FILE])]
    # As if there never had been a runtime in the table.
    node.export({})
    never = Node(data).export({})
    if value.get("runtimes") is not None:
        assert node.files == never.files


@settings(deadline=None)
@given(files(), OURS, OURS, OURS, st.integers(0, 3))
def test_an_interrupted_export_is_completed_by_the_next_one(
    file: tuple[dict[str, Any], bytes, str],
    ours: dict[str, Any],
    later: dict[str, Any],
    last: dict[str, Any],
    steps: int,
) -> None:
    value, data, _ = file
    node = Node(data).export({"runtimes": ours})
    node.export({"runtimes": later}, steps)
    # Every entry is the old or the new one, and is known to be runtimectl's.
    node.export({"runtimes": last})
    uninterrupted = Node(data).export({"runtimes": ours}).export({"runtimes": last})
    names = (value.get("runtimes") or {}).keys() | exported(last)["runtimes"].keys()
    merged = json.loads(decoded(node.files[FILE], file[2]))
    assert (merged.get("runtimes") or {}).keys() == names
    assert merged.get("default-runtime") == "runc"
    assert node.record == uninterrupted.record
