"""Tests of parse.py: documents and flags merged into one configuration, or all that is wrong."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtimed.core.config import Config, Definition, Engine, Limits, Origin, Probe, RuntimedSettings, Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.configuration.position import Location
from runtimed.core.configuration.rendering import config_document, definition_document
from runtimed.core.containerd.options import GENERIC, RUNC, Options
from runtimed.core.errors import ConfigurationRejected, Problem

MAIN = "/etc/runtimed/daemon.json"
DEFAULTS = Settings("/var/lib/runtimed", "/run/runtimed", ("unix:///run/runtimed/runtimed.sock",))


def flagged(*runtimes: str, **settings: object) -> Flags:
    """Return flags: ``data_root="/x"`` for --data-root, and the runtimes of --add-runtime."""
    return Flags({name.replace("_", "-"): value for name, value in settings.items()}, runtimes)


def documents(*texts: object) -> Documents:
    """Return documents of JSON values or texts: the main file (None for none) and drop-ins 1.json, 2.json…"""
    sources = [
        None
        if text is None
        else Source(f"{index}.json" if index else MAIN, (text if isinstance(text, str) else json.dumps(text)).encode())
        for index, text in enumerate(texts)
    ]
    return Documents(MAIN, sources[0] if sources else None, tuple(source for source in sources[1:] if source))


def parse(*texts: object, flags: Flags | None = None, main_required: str | None = None) -> Config:
    return parse_configuration(documents(*texts), flags or Flags(), DEFAULTS, main_required=main_required)


def problems_of(*texts: object, flags: Flags | None = None, main_required: str | None = None) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationRejected) as caught:
        parse(*texts, flags=flags, main_required=main_required)
    return caught.value.problems


# --- one document


@pytest.mark.parametrize("text", [None, "{}", "null", '{"runtimes": null, "default-runtime": null, "hosts": null}'])
def test_an_empty_configuration_has_all_defaults(text: str | None) -> None:
    config = parse(text)
    assert config.settings == DEFAULTS
    assert config.runtimes == {}
    assert (config.path, config.default_runtime, config.cgroup_driver, config.runtimed) == (
        MAIN,
        "runc",
        None,
        RuntimedSettings(),
    )
    assert tuple(config.sources) == (() if text is None else (MAIN,))


def test_a_line_inserted_above_runtimes_changes_no_relative_line() -> None:
    entry = '{"path": "/a",\n "runtimeArgs": []}'
    before, after = (parse(f'{{{blank}"runtimes": {{"x": {entry},\n"y": {entry}}}}}').origins for blank in ("", "\n"))
    assert (before["x"], after["x"]) == (
        Origin(MAIN, 1, (("path", 0), ("runtimeArgs", 1))),
        Origin(MAIN, 2, (("path", 0), ("runtimeArgs", 1))),
    )
    assert before["y"].fields == {"path": 3, "runtimeArgs": 4}
    # One tuple for all entries of the same layout.
    assert before["x"].below is before["y"].below is after["x"].below


def test_equal_paths_and_arguments_are_kept_once() -> None:
    entry = {"path": "/opt/same", "runtimeArgs": ["--same", "--same"]}
    one, other = parse({"runtimes": {"x": entry, "y": entry}}).runtimes.values()
    assert one.path is other.path
    assert one.args[0] is one.args[1] is other.args[0]


def test_a_daemon_json_of_docker_is_accepted() -> None:
    config = parse(
        """{
  "data-root": "/mnt/r", "exec-root": "/run/r", "hosts": ["unix:///run/r.sock", "fd://"],
  "group": "ops", "pidfile": "/run/r.pid", "log-level": "warning", "log-format": "json", "debug": true,
  "storage-driver": "overlay2", "log-opts": {"max-size": "10m"},
  "exec-opts": ["native.cgroupdriver=systemd"],
  "default-runtime": "kata",
  "runtimes": {
    "kata": {
      "runtimeType": "io.containerd.kata.v2",
      "Options": {"ConfigPath": "/etc/kata.toml"}
    },
    "gvisor": {"path": "/usr/bin/runsc",
      "runtimeArgs": ["--debug", "a b"]}
  },
  "runtimed": {"retain": 3, "limits": {"connections-per-user": 7}}
}"""
    )
    hosts = ("unix:///run/r.sock", "fd://")
    assert config.settings == Settings("/mnt/r", "/run/r", hosts, "ops", "/run/r.pid", "warn", "json", debug=True)
    options = Options(GENERIC, (("config_path", "/etc/kata.toml"),))
    assert config.runtimes == {
        "kata": Definition("kata", runtime_type="io.containerd.kata.v2", options=options),
        "gvisor": Definition("gvisor", "/usr/bin/runsc", ("--debug", "a b")),
    }
    assert config.origins["kata"] == Origin.at(MAIN, 8, {"runtimeType": 9, "options": 10})
    assert config.origins["gvisor"] == Origin.at(MAIN, 12, {"path": 12, "runtimeArgs": 13})
    assert config.default_runtime == "kata"
    assert config.cgroup_driver == "systemd"
    assert config.runtimed == RuntimedSettings(retain=3, limits=Limits(connections_per_user=7))
    assert config.ignored == ("storage-driver", "log-opts")
    assert config.overridden == ()


@pytest.mark.parametrize(
    "name", ["runc", "io.containerd.runc.v2", "kata", "io.containerd.spin.v2", "a.b", "_x.", "odd/name"]
)
def test_the_default_may_be_stock_configured_or_a_shim_name(name: str) -> None:
    runtimes = {"kata": {"path": "k"}, "odd/name": {"path": "k"}}
    assert parse({"default-runtime": name, "runtimes": runtimes}).default_runtime == name


@pytest.mark.parametrize("name", ["nope", "a/b.c", ".x", "..", "a.b --privileged", "a.b\n", "é.v2"])
def test_another_default_does_not_exist(name: str) -> None:
    (problem,) = problems_of({"default-runtime": name})
    assert "specified default runtime '" in problem.message
    assert "does not exist" in problem.message
    assert problem.pointer == "/default-runtime"


def test_a_misspelt_default_is_reported_with_the_nearest_runtime() -> None:
    (problem,) = problems_of({"default-runtime": "Kata-clhh", "runtimes": {"kata-clh": {"path": "k"}}})
    assert "specified default runtime 'Kata-clhh' does not exist; did you mean \"kata-clh\"?" in problem.message


@pytest.mark.parametrize(
    ("setting", "pointer"),
    [
        ({"data-root": "var"}, "/data-root"),
        ({"exec-root": "./x"}, "/exec-root"),
        ({"hosts": ["fd://", "tcp://0.0.0.0:1"]}, "/hosts/1"),
        ({"log-level": "loud"}, "/log-level"),
        ({"log-format": "xml"}, "/log-format"),
        ({"exec-opts": ["native.cgroupdriver=systemd", "x=y"]}, "/exec-opts/1"),
    ],
)
def test_a_setting_that_breaks_a_rule_is_reported_with_its_place(setting: dict[str, object], pointer: str) -> None:
    (problem,) = problems_of(setting)
    assert problem.pointer == pointer
    assert problem.file == MAIN
    assert problem.line == 1


# --- several documents


def test_a_later_document_replaces_the_whole_entry_and_becomes_its_origin() -> None:
    main = {"runtimes": {"a": {"path": "/a", "runtimeArgs": ["-x"]}, "b": {"path": "/b"}}}
    config = parse(main, {"runtimes": {"a": {"runtimeType": "io.containerd.a.v2"}}})
    assert config.runtimes["a"] == Definition("a", runtime_type="io.containerd.a.v2")
    assert config.origins["a"].file == "1.json"
    assert config.origins["b"].file == MAIN
    assert tuple(config.sources) == (MAIN, "1.json")


def test_a_later_scalar_wins_unless_it_is_null_or_empty() -> None:
    first = {"default-runtime": "a.v1", "group": "x", "runtimed": {"retain": 5, "limits": {"connections": 9}}}
    second = {"default-runtime": None, "group": "", "log-level": "debug", "runtimed": {"limits": {"connections": 8}}}
    third = {"default-runtime": "b.v1", "runtimed": {"limits": None}, "runtimes": None}
    config = parse(first, second, third)
    assert config.default_runtime == "b.v1"
    assert (config.settings.group, config.settings.log_level) == ("x", "debug")
    assert config.runtimed == RuntimedSettings(retain=5, limits=Limits(8))


def test_an_empty_list_of_exec_options_resets_the_driver() -> None:
    systemd = {"exec-opts": ["native.cgroupdriver=systemd"]}
    assert parse(systemd, {"exec-opts": []}).cgroup_driver is None
    assert parse(systemd, {"exec-opts": None}).cgroup_driver == "systemd"


def test_an_empty_list_of_hosts_is_not_given() -> None:
    assert parse({"hosts": ["fd://"]}, {"hosts": []}).settings.hosts == ("fd://",)


def test_dropins_count_without_a_main_file() -> None:
    config = parse(None, {"runtimes": {"a": {"path": "/a"}}})
    assert tuple(config.sources) == ("1.json",)
    assert set(config.runtimes) == {"a"}


def test_a_default_may_name_a_runtime_of_another_document() -> None:
    assert parse({"default-runtime": "a"}, {"runtimes": {"a": {"path": "/a"}}}).default_runtime == "a"


def test_ignored_keys_are_listed_once_in_the_order_they_appear() -> None:
    assert parse({"tls": 1, "bip": 2}, {"bip": 3, "dns": 4}).ignored == ("tls", "bip", "dns")


ENTRIES = st.builds(lambda path, args: {"path": path, "runtimeArgs": args}, st.sampled_from(["/a", "b"]), st.lists(
    st.sampled_from(["-x", "", "a b"]), max_size=2
))  # fmt: skip
TABLES = st.dictionaries(st.sampled_from(["a", "b", "x/y", "..", "io.containerd.runc.v2"]), ENTRIES, max_size=4)


@given(st.lists(TABLES, max_size=5), st.dictionaries(st.sampled_from(["a", "b", "new"]), st.just("/flag"), max_size=2))
def test_documents_and_flags_merge_as_dictionaries_update(
    tables: list[dict[str, dict[str, Any]]], added: dict[str, str]
) -> None:
    flags = Flags(runtimes=tuple(f"{name}={path}" for name, path in added.items()))
    config = parse(*({"runtimes": table} for table in tables), flags=flags)
    expected: dict[str, Definition] = {}
    files: dict[str, str] = {}
    for index, table in enumerate(tables):
        expected |= {name: Definition(name, e["path"], tuple(e["runtimeArgs"])) for name, e in table.items()}
        files |= dict.fromkeys(table, f"{index}.json" if index else MAIN)
    expected |= {name: Definition(name, path) for name, path in added.items()}
    files |= dict.fromkeys(added, "--add-runtime")
    assert config.runtimes == expected
    assert {name: origin.file for name, origin in config.origins.items()} == files


# --- flags


def test_flags_win_over_documents_and_overridden_keys_are_listed() -> None:
    main = {
        "data-root": "/m", "hosts": ["fd://"], "debug": True, "default-runtime": "a", "exec-opts": [], "group": "g",
        "runtimes": {"a": {"path": "/a"}, "b": {"path": "/b"}},
    }  # fmt: skip
    flags = flagged(
        "b=/f b",
        "c = /c=d ",
        data_root="/f",
        exec_root="/e",
        hosts=("unix:///f.sock",),
        pidfile="/p",
        log_level="ERROR",
        log_format="text",
        debug=False,
        default_runtime="c",
        exec_opts=("native.cgroupdriver=cgroupfs",),
    )
    config = parse(main, flags=flags)
    assert config.settings == Settings("/f", "/e", ("unix:///f.sock",), "g", "/p", "error", "text", debug=False)
    assert config.runtimes == {
        "a": Definition("a", "/a"),
        "b": Definition("b", "/f b"),
        "c": Definition("c", "/c=d"),
    }
    assert config.origins["b"] == config.origins["c"] == Origin("--add-runtime")
    assert (config.default_runtime, config.cgroup_driver) == ("c", "cgroupfs")
    assert config.overridden == ("data-root", "debug", "default-runtime", "exec-opts", "hosts", "runtimes/b")


@pytest.mark.parametrize(
    ("flags", "main", "key"),
    [
        (flagged(hosts=("unix:///f.sock",)), {"hosts": ["tcp://0.0.0.0:2375"]}, "hosts"),  # the unit's case
        (flagged(hosts=("unix:///f.sock",)), {"hosts": "tcp://0.0.0.0:2375"}, "hosts"),
        (flagged(data_root="/f"), {"data-root": "docker"}, "data-root"),
        (flagged(exec_root="/f"), {"exec-root": "docker"}, "exec-root"),
        (flagged(log_level="info"), {"log-level": "verbose"}, "log-level"),
        (flagged(log_format="json"), {"log-format": "logfmt"}, "log-format"),
        (flagged(group="g"), {"group": 5}, "group"),
        (flagged(pidfile="/p"), {"pidfile": False}, "pidfile"),
        (flagged(debug=True), {"debug": "yes"}, "debug"),
        (flagged(default_runtime="runc"), {"default-runtime": "nope"}, "default-runtime"),
        (flagged(default_runtime="runc"), {"default-runtime": ["nope"]}, "default-runtime"),
        (flagged(exec_opts=("native.cgroupdriver=systemd",)), {"exec-opts": ["isolation=hyperv"]}, "exec-opts"),
        (Flags(runtimes=("k=/f",)), {"runtimes": {"k": {"paht": 1}}}, "runtimes/k"),
    ],
)
def test_an_overridden_value_is_reported_and_not_checked(flags: Flags, main: object, key: str) -> None:
    assert parse(main, flags=flags).overridden == (key,)
    assert problems_of(main)


def test_unknown_keys_are_remarks_in_the_order_of_the_files() -> None:
    main = {"zzz": 1, "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}
    config = parse(main, {"yyy": 1})
    assert [(remark.file, remark.pointer) for remark in config.remarks] == [
        (MAIN, "/zzz"),
        (MAIN, "/runtimes/nvidia/args"),
        ("1.json", "/yyy"),
    ]
    assert config.runtimes["nvidia"] == Definition("nvidia", "nvidia-container-runtime")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (Flags(runtimes=("kata",)), '--add-runtime: found "kata", expected NAME=PATH'),
        (Flags(runtimes=("=/x",)), "NAME=PATH"),
        (Flags(runtimes=("a=",)), "NAME=PATH"),
        (Flags(runtimes=("runc=/x",)), "runtime name 'runc' is reserved"),
        (Flags(runtimes=("a=/x", "a=/y")), "runtime a is given twice"),
        (Flags(runtimes=("a=/x\udcff",)), "UTF-8 text without NUL"),
        (flagged(default_runtime="nope"), "--default-runtime: specified default runtime 'nope' does not exist"),
        (flagged(default_runtime="a\udcff"), '--default-runtime: found "a\\udcff", expected UTF-8 text without NUL'),
        (flagged(data_root="/a\0b"), "--data-root: found"),
        (flagged(hosts=("fd://", "unix:///\udc80")), "--host: found"),
        (flagged(hosts=("tcp://x",)), "--host: found"),
        (flagged(exec_root="run"), "--exec-root: found"),
        (flagged(log_level="x"), "--log-level: found"),
        (flagged(exec_opts=("x",)), "--exec-opt: exec-opt"),
    ],
)
def test_a_flag_that_breaks_a_rule_is_named(flags: Flags, message: str) -> None:
    (problem,) = problems_of("{}", flags=flags)
    assert message in problem.message
    assert (problem.file, problem.line, problem.pointer) == (None, None, None)
    json.dumps(problem.as_dict(), ensure_ascii=False).encode()


def test_empty_flags_are_not_given() -> None:
    config = parse({"default-runtime": "a.b"}, flags=flagged(default_runtime="", group="", data_root=""))
    assert (config.default_runtime, config.settings.group, config.settings.data_root) == (
        "a.b",
        None,
        DEFAULTS.data_root,
    )


# --- rejected configurations


def test_all_problems_of_all_documents_come_in_their_order_and_flags_last() -> None:
    found = problems_of(
        '{\n"runtimes": {"b": {},\n"a": {"path": 1}},\n"hostz": 0,\n"debug": 0}',
        '{"a": 1, "a": 2',
        {"runtimes": {"x": {"path": "p", "runtimeType": "t"}}},
        flags=flagged(log_level="x"),
    )
    assert [(p.file, p.line) for p in found] == [
        (MAIN, 2),
        (MAIN, 3),
        (MAIN, 4),
        (MAIN, 5),
        ("1.json", 1),
        ("1.json", 1),
        ("2.json", 1),
        (None, None),
    ]


def test_an_entry_that_a_later_document_replaces_is_checked_all_the_same() -> None:
    (problem,) = problems_of({"runtimes": {"a": {}}}, {"runtimes": {"a": {"path": "/a"}}})
    assert problem.file == MAIN


def test_a_missing_main_file_is_a_problem_only_where_it_is_required() -> None:
    assert parse(None).runtimes == {}
    (problem,) = problems_of(None, main_required="it was named with --config; create it")
    assert problem.file == MAIN
    assert problem.message == "it was named with --config; create it"
    assert parse("{}", main_required="why").runtimes == {}


def test_a_main_file_that_could_not_be_read_is_reported_once() -> None:
    unreadable = Problem("permission denied", MAIN)
    given = Documents(MAIN, problems=(unreadable, Problem("too big", "9.json")), dropins=(Source("1.json", b"7"),))
    with pytest.raises(ConfigurationRejected) as caught:
        parse_configuration(given, Flags(), DEFAULTS, main_required="why")
    assert [p.file for p in caught.value.problems] == [MAIN, "1.json", "9.json"]


@pytest.mark.parametrize("broken", ["", '{"runtimes": {"kata": {"path'])
def test_a_default_that_an_incomplete_file_may_define_is_not_missing(broken: str) -> None:
    with pytest.raises(ConfigurationRejected) as caught:
        parse({"default-runtime": "kata"}, broken)
    assert caught.value.incomplete


def test_a_default_whose_entry_has_a_problem_is_not_missing() -> None:
    (problem,) = problems_of({"default-runtime": "kata", "runtimes": {"kata": {"path": 1}}})
    assert problem.pointer == "/runtimes/kata/path"


# --- and back


RUNC_OPTIONS = st.builds(
    lambda root, uid, flag: Options(RUNC, (("no_pivot_root", flag), ("io_uid", uid), ("root", root))),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
GENERIC_OPTIONS = st.builds(lambda body: Options(GENERIC, (("config_body", body),)), st.binary(max_size=5))
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
NAMES = WORDS.filter(lambda name: name != "runc")
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=5,
)
CARRIED = st.dictionaries(
    st.sampled_from(["docker", "containerd"]), st.dictionaries(WORDS, VALUES, min_size=1, max_size=2), max_size=2
).map(lambda engines: json.dumps(engines, sort_keys=True) if engines else "")
PLAIN_DEFINITIONS = st.one_of(
    st.builds(Definition, WORDS, WORDS.map("/".__add__), st.lists(WORDS, max_size=3).map(tuple)),
    st.builds(Definition, WORDS, runtime_type=WORDS),
    st.builds(Definition, WORDS, runtime_type=st.just("io.containerd.runc.v2"), options=RUNC_OPTIONS),
    st.builds(Definition, WORDS, runtime_type=st.just("io.containerd.kata.v2"), options=GENERIC_OPTIONS),
)
DEFINITIONS = st.builds(lambda plain, engines: dataclasses.replace(plain, engines=engines), PLAIN_DEFINITIONS, CARRIED)
SETTINGS = st.builds(
    Settings,
    data_root=WORDS.map("/".__add__),
    exec_root=WORDS.map("/".__add__),
    hosts=st.lists(st.sampled_from(["fd://", "unix:///é.sock"]), min_size=1).map(tuple),
    group=st.none() | WORDS,
    pidfile=st.none() | WORDS,
    log_level=st.sampled_from(["debug", "info", "warn", "error", "fatal"]),
    log_format=st.sampled_from(["text", "json", "auto"]),
    debug=st.booleans(),
)
PATHS = st.sampled_from(["/a", "/run/x/y.sock"])
CONFIGS = st.builds(
    lambda table, default, **rest: Config(
        path=MAIN,
        runtimes={name: dataclasses.replace(definition, name=name) for name, definition in table.items()},
        default_runtime=default or next(iter(table), "runc"),
        **rest,
    ),
    st.dictionaries(NAMES, DEFINITIONS, max_size=4),
    st.sampled_from(["runc", "a.b", ""]),
    settings=SETTINGS,
    cgroup_driver=st.sampled_from([None, "systemd", "cgroupfs"]),
    runtimed=st.builds(
        RuntimedSettings,
        retain=st.integers(1, 1000),
        grace_s=st.floats(0, 1e9),
        gc=st.booleans(),
        containerd=st.lists(
            st.builds(Engine, PATHS, PATHS, st.none() | PATHS),
            max_size=2,
        ).map(tuple),
        limits=st.builds(Limits, st.integers(1), st.integers(1)),
        probe=st.builds(Probe, st.booleans(), st.floats(0.1, 60)),
        require_proof=st.booleans(),
    ),
)


WITH_NUL = Definition("k", runtime_type="a.v2", options=Options(GENERIC, (("config_body", b"a\0b"),)))


@given(CONFIGS)
@example(Config(path=MAIN, settings=DEFAULTS, runtimes={"k": WITH_NUL}))  # text, but none a document may hold
def test_a_written_configuration_is_read_back_unchanged(config: Config) -> None:
    entries = {name: definition_document(definition) for name, definition in config.runtimes.items()}
    text = json.dumps({**config_document(config), "runtimes": entries})
    again = parse(text)
    placeless: dict[str, Any] = {"origins": {}, "sources": {}, "default_at": Location()}
    assert dataclasses.replace(config, **placeless) == dataclasses.replace(again, **placeless)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2592000), ("12h", 43200), ("5m", 300), ("0s", 0), (90, 90), (1.5, 1.5)]
)
def test_a_duration_is_in_seconds_or_has_a_unit(text: object, seconds: float) -> None:
    assert parse({"runtimed": {"grace": text}}).runtimed.grace_s == seconds


def test_the_engines_are_debians_and_dockers_unless_they_are_given() -> None:
    assert [engine.state for engine in parse({}).runtimed.containerd] == [
        "/run/containerd",
        "/run/docker/containerd/daemon",
    ]
    assert parse({"runtimed": {"containerd": []}}).runtimed.containerd == ()
    given = parse({"runtimed": {"containerd": [{"address": "/a", "state": "/b"}]}}).runtimed.containerd
    assert given == (Engine("/a", "/b"),)
