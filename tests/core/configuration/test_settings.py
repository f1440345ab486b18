"""Tests of settings.py and of the settings in config.py: the values that each accepts, and the table of all."""

from __future__ import annotations

import json

import pytest

from runtimed.core.config import BOOT_ONLY, SETTINGS, Engine
from runtimed.core.configuration.document import parse_document
from runtimed.core.configuration.draft import Draft
from runtimed.core.configuration.inputs import Flags, Source
from runtimed.core.configuration.problems import Problems
from runtimed.core.configuration.schema import read_settings
from runtimed.core.configuration.settings import Attributes, Setting


def read(key: str, value: object) -> tuple[dict[Attributes, object], Problems]:
    """Return the values and problems of a setting at the top of a document."""
    draft = Draft()
    read_settings(parse_document(Source("daemon.json", json.dumps({key: value}).encode())), Flags(), draft)
    return draft.values, draft.problems


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: ".".join(setting.keys))
def test_a_setting_has_flags_and_a_help_text_or_neither(setting: Setting) -> None:
    assert bool(setting.flags) == bool(setting.help)
    assert not setting.flags or len(setting.keys) == 1, "flags are of keys at the top"


def test_the_boot_only_settings_are_known() -> None:
    assert set(BOOT_ONLY) == {"data-root", "exec-root", "hosts", "group", "pidfile", "log-format"}


def test_an_empty_text_and_an_empty_list_of_hosts_are_not_given() -> None:
    for key, value in (("group", ""), ("data-root", ""), ("log-level", ""), ("log-format", ""), ("hosts", [])):
        assert read(key, value) == ({}, [])


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("unix:///run/runtimed/runtimed.sock", None),
        ("fd://", None),
        ("fd://runtimed.socket", None),
        ("unix:///" + "x" * 106, None),  # 107 bytes are what sun_path holds
        ("unix:///" + "x" * 107, "108 bytes"),
        ("unix:///" + "é" * 54, "109 bytes"),
        ("unix://run/x.sock", "absolute path"),
        ("unix://", "absolute path"),
        ("unix://@abstract", "absolute path"),
        ("/run/x.sock", "use unix://"),
        ("", "use unix://"),
        ("tcp://127.0.0.1:2375", "Unix sockets only"),
        ("npipe:////./pipe/x", "Unix sockets only"),
        ("ssh://host", "Unix sockets only"),
    ],
)
def test_hosts_are_unix_sockets_or_descriptors(host: str, words: str | None) -> None:
    values, problems = read("hosts", [host])
    if words is None:
        assert values == {("settings", "hosts"): (host,)}
        assert problems == []
    else:
        (problem,) = problems
        assert words.replace("use ", "") in problem.message
        assert "unix://" in problem.message or "bytes" in problem.message
        assert problem.pointer == "/hosts/0"


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ("debug", "debug"), ("info", "info"), ("warn", "warn"), ("error", "error"), ("fatal", "fatal"),
        ("warning", "warn"), ("panic", "fatal"), ("trace", "debug"), ("INFO", "info"), ("Warning", "warn"),
    ],
)  # fmt: skip
def test_every_log_level_of_dockerd_is_understood(given: str, level: str) -> None:
    assert read("log-level", given) == ({("settings", "log_level"): level}, [])


@pytest.mark.parametrize("given", ["verbose", " info", "0"])
def test_another_log_level_is_refused(given: str) -> None:
    (problem,) = read("log-level", given)[1]
    assert "expected one of trace, debug, info" in problem.message


def test_log_formats_are_text_json_and_auto() -> None:
    for name in ("text", "json", "auto"):
        assert read("log-format", name) == ({("settings", "log_format"): name}, [])
    (problem,) = read("log-format", "JSON")[1]
    assert problem.message == 'found "JSON", expected one of text, json, auto'


@pytest.mark.parametrize(
    ("options", "driver", "words"),
    [
        ([], None, []),
        (["native.cgroupdriver=systemd"], "systemd", []),
        ([" Native.CgroupDriver =cgroupfs"], "cgroupfs", []),  # the key is trimmed, and its case does not count
        (["native.cgroupdriver=systemd", "native.cgroupdriver=cgroupfs"], "cgroupfs", []),  # the last one wins
        (["native.cgroupdriver = systemd "], "systemd", []),  # dockerd trims both
        (["native.cgroupdriver=Systemd"], None, ["expected systemd or cgroupfs"]),
        (["native.cgroupdriver="], None, ["expected systemd or cgroupfs"]),
        (["native.cgroupdriver=none"], None, ["expected systemd or cgroupfs"]),
        (["native.cgroupdriver"], None, ["key=value"]),
        (["=systemd"], None, ["key=value"]),
        ([""], None, ["key=value"]),
        (["isolation=hyperv"], None, ["Windows"]),
        (["native.umask=normal", "x"], None, ["unknown", "key=value"]),  # all are reported
    ],
)
def test_exec_options_name_the_cgroup_driver(options: list[str], driver: str | None, words: list[str]) -> None:
    values, problems = read("exec-opts", options)
    assert values == ({} if words else {("cgroup_driver",): driver})
    assert len(problems) == len(words)
    assert all(word in problem.message for word, problem in zip(words, problems, strict=True))


def test_the_root_of_debians_containerd_is_known() -> None:
    assert (
        Engine("/run/containerd/containerd.sock", "/run/containerd").metadata
        == "/var/lib/containerd/io.containerd.metadata.v1.bolt"
    )
    assert Engine("/x.sock", "/run/x").metadata is None
    assert Engine("/x.sock", "/run/x", "/srv/x").metadata == "/srv/x/io.containerd.metadata.v1.bolt"
