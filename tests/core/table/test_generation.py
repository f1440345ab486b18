"""Tests of generations and of resolution."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.config import Config, Definition, Origin, Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.containerd.names import shim_binary_name
from runtimed.core.containerd.options import RUNC, encode_options, make_options, read_options
from runtimed.core.errors import InvalidRuntimeName, UnknownRuntime
from runtimed.core.table.availability import (
    binaries_of,
    executed_binaries,
    files_of,
    find_unavailable,
    watched_binaries,
)
from runtimed.core.table.build import build_generation, uses_systemd_cgroup
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host, compare_generations, compare_identities, links_of
from runtimed.core.table.resolve import nearest_name, resolve

HOST = Host(Facts(cgroup2=True, systemd=True, ramdisk=False), "/var/lib/runtimed", "/run/runtimed")
SETTINGS = Settings("/var/lib/runtimed", "/run/runtimed", ("unix:///run/runtimed/runtimed.sock",))


def config(*definitions: Definition, **more: Any) -> Config:
    return Config("/etc/runtimed/daemon.json", SETTINGS, {d.name: d for d in definitions}, **more)


def build(*definitions: Definition, **more: Any) -> Generation:
    return build_generation(config(*definitions, **more), HOST, 7)


def answer(generation: Generation, name: str) -> dict[str, Any]:
    found = resolve(generation, name)
    return dict(json.loads(found.answer.at(found.generation)))


CRUN = Definition("crun", path="/usr/bin/crun")
GVISOR = Definition("gvisor", path="runsc", args=("--platform=systrap", "a b"))
KATA_OPTIONS, _ = read_options("io.containerd.kata.v2", {"ConfigPath": "/etc/kata.toml"})
KATA = Definition("kata", runtime_type="io.containerd.kata.v2", options=KATA_OPTIONS)
CARRIED = '{"containerd": {"snapshotter": "devmapper"}}'


def test_the_stock_runtimes_are_known_without_configuration() -> None:
    for name in ("runc", "io.containerd.runc.v2"):
        found = answer(build(), name)
        assert found["source"] == "stock"
        assert found["shim"] == "io.containerd.runc.v2"
        assert found["options"]["type_url"] == "containerd.runc.v1.Options"
        assert found["options"]["fields"] == {
            "no_pivot_root": False,
            "binary_name": "runc",
            "root": "/run/runtimed/runtime-runc",
            "systemd_cgroup": True,
        }


def test_the_value_of_a_resolution_is_the_base64_of_its_encoded_fields() -> None:
    found = answer(build(CRUN), "crun")["options"]
    expected = encode_options(make_options(RUNC, found["fields"]))
    assert base64.b64decode(found["value"]) == expected


def test_a_path_without_arguments_is_the_binary_itself() -> None:
    found = answer(build(CRUN), "crun")
    assert found["options"]["fields"]["binary_name"] == "/usr/bin/crun"
    assert found["source"] == "configured"


def test_a_path_with_arguments_is_a_wrapper_below_the_data_root() -> None:
    generation = build(GVISOR)
    wrapper = generation.runtimes["gvisor"].wrapper
    assert wrapper is not None
    assert (
        answer(generation, "gvisor")["options"]["fields"]["binary_name"] == f"/var/lib/runtimed/wrappers/{wrapper.file}"
    )
    assert wrapper.text.endswith(b"exec runsc --platform=systrap 'a b' \"$@\"\n")


def test_every_path_runtime_has_a_launcher_and_its_target_is_what_resolutions_name() -> None:
    generation = build(GVISOR, CRUN, KATA)
    gvisor, crun = generation.runtimes["gvisor"], generation.runtimes["crun"]
    assert gvisor.launcher is not None
    assert crun.launcher is not None
    assert crun.target == "/usr/bin/crun"
    assert gvisor.target == answer(generation, "gvisor")["options"]["fields"]["binary_name"]
    assert f"_rd_target={gvisor.target}\n".encode() in gvisor.launcher.text
    assert b"_rd_pins=/run/runtimed/pins\n" in crun.launcher.text
    assert links_of(generation.runtimes.values()) == {"crun": crun.launcher.file, "gvisor": gvisor.launcher.file}
    assert list(generation.scripts) == [crun.launcher, gvisor.wrapper, gvisor.launcher]
    for name in ("kata", "runc"):
        assert (generation.runtimes[name].launcher, generation.runtimes[name].target) == (None, None)


def test_the_path_of_the_daemon_counts_only_where_a_launcher_searches_it() -> None:
    elsewhere = replace(HOST, facts=replace(HOST.facts, search="/opt/bin"))
    for definition, same in ((CRUN, True), (replace(CRUN, path="crun"), False)):
        digests = [build_generation(config(definition), host, 1).digest for host in (HOST, elsewhere)]
        assert (digests[0] == digests[1]) is same


def test_only_a_configured_runtime_needs_the_files_in_its_resolution() -> None:
    options = make_options(RUNC, {"binary_name": "/opt/crun"})
    typed = Definition("typed", runtime_type="io.containerd.runc.v2", options=options)
    generation = build(GVISOR, CRUN, KATA, typed)
    wrapper = answer(generation, "gvisor")["options"]["fields"]["binary_name"]
    assert resolve(generation, "gvisor").files == ("runsc", wrapper)
    assert resolve(generation, "crun").files == ("/usr/bin/crun",)
    assert resolve(generation, "kata").files == ("containerd-shim-kata-v2",)
    assert resolve(generation, "typed").files == ("containerd-shim-runc-v2", "/opt/crun")
    assert [resolve(generation, name).files for name in ("runc", "io.containerd.runc.v2", "a.b", "")] == [()] * 4


def test_a_runtime_type_has_its_shim_and_only_its_own_options() -> None:
    generation = build(KATA, Definition("bare", runtime_type="io.containerd.runc.v2"))
    assert answer(generation, "kata")["shim"] == "io.containerd.kata.v2"
    assert answer(generation, "kata")["options"]["type_url"] == "runtimeoptions.v1.Options"
    assert answer(generation, "kata")["options"]["fields"] == {"config_path": "/etc/kata.toml"}
    assert answer(generation, "bare")["options"] is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # the empty name is the default runtime
        ("", "crun"),
        ("kata", "kata"),
        # a configured name beats the rule that its form would fall under
        ("a/b", "a/b"),
        ("io.containerd.runc.v2", "io.containerd.runc.v2"),
        # shim names go to containerd as they are
        ("io.containerd.runsc.v1", "io.containerd.runsc.v1"),
        ("a.b", "a.b"),
        ("a.", "a."),
        ("a..", "a.."),
        ("A_1.b-c", "A_1.b-c"),
        ("x" * 126 + ".y", "x" * 126 + ".y"),
    ],
)
def test_a_known_name_is_resolved(name: str, expected: str) -> None:
    generation = build(CRUN, KATA, Definition("a/b", path="/b"), default_runtime="crun")
    assert answer(generation, name)["runtime"] == expected


def test_an_implicit_name_is_its_own_shim_and_has_no_options() -> None:
    found = answer(build(), "io.containerd.kata.v2")
    assert (found["source"], found["shim"], found["options"]) == ("implicit", "io.containerd.kata.v2", None)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("unknown", UnknownRuntime),
        ("CRUN", UnknownRuntime),
        ("a b", UnknownRuntime),
        # a path would make containerd run a binary of the client's choice as root
        ("/bin/sh", InvalidRuntimeName),
        ("./x", InvalidRuntimeName),
        ("a/b.c", InvalidRuntimeName),
        (".x", InvalidRuntimeName),
        ("..", InvalidRuntimeName),
        # another word on the command line into which the resolution is pasted
        ("io.containerd.runc.v2 --privileged", InvalidRuntimeName),
        ("io.containerd.runc.v2\n", InvalidRuntimeName),
        ("io.containerd.$(id)", InvalidRuntimeName),
        ("-io.containerd.runc.v2", InvalidRuntimeName),
        ("io.containerd.é", InvalidRuntimeName),
        ("x" * 127 + ".y", InvalidRuntimeName),
        ("a.\0", InvalidRuntimeName),
    ],
)
def test_an_unknown_or_dangerous_name_is_refused(name: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="unknown or invalid runtime name: "):
        resolve(build(CRUN), name)


def test_the_error_for_an_unknown_name_has_the_known_names_and_the_nearest() -> None:
    with pytest.raises(UnknownRuntime) as caught:
        resolve(build(CRUN, GVISOR), "gvisr")
    assert caught.value.nearest == "gvisor"
    assert caught.value.known == ("crun", "gvisor", "io.containerd.runc.v2", "runc")


def test_the_search_for_the_nearest_name_is_bounded() -> None:
    generation = build(*(Definition(f"runtime-{number:05}", path="/x") for number in range(10_000)))
    assert nearest_name("runtime-0000", generation) is not None
    assert nearest_name("q" * 100_000, generation) is None


def test_an_entry_overrides_the_stock_runtime_with_the_name_of_the_shim() -> None:
    own = Definition("io.containerd.runc.v2", path="/opt/runc")
    assert answer(build(own), "io.containerd.runc.v2")["options"]["fields"]["binary_name"] == "/opt/runc"
    assert answer(build(own), "runc")["options"]["fields"]["binary_name"] == "runc"


def test_the_default_runtime_may_be_an_unconfigured_shim() -> None:
    assert answer(build(default_runtime="io.containerd.kata.v2"), "")["source"] == "implicit"


@pytest.mark.parametrize(
    ("driver", "cgroup2", "systemd", "expected"),
    [
        ("systemd", False, False, True),
        ("cgroupfs", True, True, False),
        (None, True, True, True),
        (None, True, False, False),
        (None, False, True, False),
    ],
)
def test_the_cgroup_driver_is_chosen_by_the_rule_of_dockerd(
    driver: str | None, cgroup2: bool, systemd: bool, expected: bool
) -> None:
    facts = Facts(cgroup2=cgroup2, systemd=systemd, ramdisk=False)
    assert uses_systemd_cgroup(config(cgroup_driver=driver), facts) is expected
    generation = build_generation(config(cgroup_driver=driver), replace(HOST, facts=facts), 1)
    assert answer(generation, "runc")["options"]["fields"]["systemd_cgroup"] is expected


def test_a_ramdisk_forbids_pivot_root() -> None:
    host = replace(HOST, facts=replace(HOST.facts, ramdisk=True))
    assert answer(build_generation(config(), host, 1), "runc")["options"]["fields"]["no_pivot_root"] is True


def test_the_digest_of_a_resolution_does_not_depend_on_the_generation() -> None:
    first = build(CRUN, GVISOR)
    second = build_generation(config(CRUN, replace(GVISOR, args=("--other",))), HOST, 8)
    assert answer(first, "crun")["digest"] == answer(second, "crun")["digest"]
    assert answer(first, "crun")["generation"] != answer(second, "crun")["generation"]
    assert answer(first, "gvisor")["digest"] != answer(second, "gvisor")["digest"]


def test_the_digest_of_a_generation_covers_everything_but_its_number_and_its_origins() -> None:
    base = build(CRUN)
    moved = build_generation(config(CRUN, origins={"crun": Origin("/elsewhere", 9)}), HOST, 99)
    assert moved.digest == base.digest
    others = [
        build(CRUN, GVISOR),
        build(replace(CRUN, path="/x")),
        build(replace(CRUN, engines=CARRIED)),
        build(CRUN, default_runtime="crun"),
        build(CRUN, cgroup_driver="cgroupfs"),
        build_generation(replace(config(CRUN), path="/other.json"), HOST, 7),
        build_generation(replace(config(CRUN), settings=replace(SETTINGS, debug=True)), HOST, 7),
        build_generation(config(CRUN), replace(HOST, exec_root="/x"), 7),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == len(others) + 1


def test_the_difference_has_added_changed_and_removed_names_and_the_default() -> None:
    old = build(CRUN, GVISOR)
    new = build(replace(CRUN, path="/x"), KATA, default_runtime="kata")
    difference = compare_generations(old, new)
    assert (difference.added, difference.changed, difference.removed) == (("kata",), ("crun",), ("gvisor",))
    assert difference.default_runtime == ("runc", "kata")
    assert compare_generations(None, new).added == ("crun", "io.containerd.runc.v2", "kata", "runc")


@pytest.mark.parametrize("plain", [CRUN, GVISOR, KATA])
def test_carried_keys_change_their_runtime_and_no_resolution(plain: Definition) -> None:
    old, new = build(plain), build(replace(plain, engines=CARRIED))
    assert compare_generations(old, new).changed == (plain.name,)
    assert compare_generations(new, new).changed == ()
    assert new.runtimes[plain.name].answer == old.runtimes[plain.name].answer
    assert list(new.scripts) == list(old.scripts)
    assert new.definition(plain.name) == {**(old.definition(plain.name) or {}), "engines": json.loads(CARRIED)}


def test_carried_keys_that_python_takes_for_equal_are_a_change() -> None:
    texts = ['{"docker": {"a": 1}}', '{"docker": {"a": true}}', '{"docker": {"a": 1.0}}']
    first, *others = (config(replace(CRUN, engines=text)) for text in texts)
    old = build_generation(first, HOST, 7)
    for other in others:
        new = build_generation(other, HOST, 8, old)
        assert compare_generations(old, new).changed == ("crun",)
        assert new == build_generation(other, HOST, 8)


def test_an_unchanged_runtime_is_shared() -> None:
    old = build(CRUN, GVISOR)
    new = build_generation(config(CRUN, replace(GVISOR, args=("--x",))), HOST, 8, old)
    assert new.runtimes["crun"] is old.runtimes["crun"]
    assert new.runtimes["runc"] is old.runtimes["runc"]
    assert new.runtimes["gvisor"] is not old.runtimes["gvisor"]


DEFINITIONS = st.one_of(
    st.builds(
        Definition,
        st.sampled_from(["a", "b", "io.containerd.runc.v2", "ü/..", "x" * 300]),
        path=st.sampled_from(["/x", "y"]),
        args=st.lists(st.text(max_size=3), max_size=2).map(tuple),
        engines=st.sampled_from(["", CARRIED]),
    ),
    st.builds(Definition, st.sampled_from(["a", "b", "c"]), runtime_type=st.sampled_from(["x.y.v1", "z.w.v2"])),
)
CONFIGS = st.builds(
    lambda definitions, driver: config(*definitions, cgroup_driver=driver),
    st.lists(DEFINITIONS, max_size=5),
    st.sampled_from([None, "systemd", "cgroupfs"]),
)


@given(st.lists(CONFIGS, min_size=2, max_size=4))
def test_the_previous_generation_saves_work_and_changes_nothing(configs: list[Config]) -> None:
    old = build_generation(configs[0], HOST, 1)
    for each in configs[1:]:
        new, alone = build_generation(each, HOST, 2, old), build_generation(each, HOST, 2)
        assert new == alone
        assert list(new.runtimes) == list(alone.runtimes) == sorted(new.runtimes)
        defaults = old.config.default_runtime, new.config.default_runtime
        assert compare_generations(old, new) == compare_identities(old.identities, alone.identities, defaults)
        for name, definition in new.config.runtimes.items():
            assert new.runtimes[name].definition is definition
            if old.config.cgroup_driver == each.cgroup_driver and old.config.runtimes.get(name) == definition:
                assert new.runtimes[name] is old.runtimes[name]
        old = new


def test_definitions_that_were_parsed_again_are_shared_with_the_next_parse_as_well() -> None:
    main = Source("/d.json", json.dumps({"runtimes": {"a": {"path": "/a"}, "b": {"path": "/b"}}}).encode())
    documents = Documents(main.path, main)
    old = build_generation(parse_configuration(documents, Flags(), SETTINGS), HOST, 1)
    new = build_generation(parse_configuration(documents, Flags(), SETTINGS), HOST, 2, old)
    after = parse_configuration(documents, Flags(), SETTINGS, previous=new.config)
    for name, definition in old.config.runtimes.items():
        assert new.config.runtimes[name] is definition
        assert after.runtimes[name] is definition


@given(CONFIGS)
def test_the_runtimes_that_need_a_binary_are_known(some: Config) -> None:
    generation = build_generation(some, HOST, 1)
    for runtime in generation.runtimes.values():
        executed = runtime.binary or shim_binary_name(runtime.shim)
        needed = dict.fromkeys((*binaries_of(runtime), *filter(None, [executed])))
        assert watched_binaries(runtime) == tuple(needed)
        assert all(runtime.name in generation.binaries[binary] for binary in needed)
    assert sum(map(len, generation.binaries.values())) == sum(
        len(watched_binaries(runtime)) for runtime in generation.runtimes.values()
    )
    found = executed_binaries(generation)
    assert len(found) == len(set(found))
    assert set(found) == {runtime.binary for runtime in generation.runtimes.values() if runtime.binary}


@given(CONFIGS, st.sets(st.sampled_from(["/x", "y", "runc", "containerd-shim-y-v1", "/not/needed"])))
def test_a_runtime_is_unavailable_when_a_file_in_its_resolution_is(some: Config, missing: set[str]) -> None:
    generation = build_generation(some, HOST, 1)
    expected = [
        (name, next(file for file in files_of(runtime) if file in missing))
        for name, runtime in generation.runtimes.items()
        if missing & set(files_of(runtime))
    ]
    found = find_unavailable(generation, dict.fromkeys(missing, "gone"))
    assert [(each.runtime, each.path) for each in found] == expected


@given(CONFIGS)
def test_a_generation_cannot_be_changed(some: Config) -> None:
    generation = build_generation(some, HOST, 1)
    assert isinstance(generation.runtimes, MappingProxyType)
    with pytest.raises(AttributeError):
        generation.number = 2  # type: ignore[misc]
