"""Tests of the lints: legal settings with another effect than intended, and dangerous ones."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.config import Config, Definition, Settings
from runtimed.core.containerd.options import read_options
from runtimed.core.features import PENDING, Features
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Host
from runtimed.core.table.lint import Lint, LintFacts, lint_runtime

SETTINGS = Settings("/data", "/run/runtimed", ())
RUNC_SHIM = "io.containerd.runc.v2"
NOTHING = LintFacts()


def lints(
    definition: Definition,
    facts: LintFacts = NOTHING,
    *,
    driver: str | None = None,
    systemd: bool = True,
    ramdisk: bool = False,
    name: str | None = None,
) -> tuple[Lint, ...]:
    config = Config("/daemon.json", SETTINGS, {definition.name: definition}, cgroup_driver=driver)
    host = Host(Facts(cgroup2=True, systemd=systemd, ramdisk=ramdisk), "/data", "/run/runtimed")
    generation = build_generation(config, host, 1)
    return lint_runtime(generation, generation.runtimes[name or definition.name], facts)


def codes(*args: Any, **more: Any) -> list[str]:
    return [lint.code for lint in lints(*args, **more)]


def path(path: str, *args: str, name: str = "x") -> Definition:
    return Definition(name, path=path, args=args)


def shim(runtime_type: str, name: str = "x", **given: object) -> Definition:
    options, faults = read_options(runtime_type, given)
    assert faults == ()
    return Definition(name, runtime_type=runtime_type, options=options)


def known(**linux: object) -> LintFacts:
    return LintFacts(features=Features("known", MappingProxyType({"linux": linux})))


WELL = shim(RUNC_SHIM, BinaryName="/usr/bin/crun", SystemdCgroup=True)


@pytest.mark.parametrize(
    "definition",
    [
        path("/usr/bin/crun"),
        path("/usr/bin/youki", "--debug", "--root=/run/a b", "--label", "a b", "x -y"),
        path("/usr/bin/runc", name="a" * 63),
        path("/usr/local/nvidia/nvidia-container-runtime", name="0-nvidia-9"),
        shim("io.containerd.kata.v2"),
        shim("io.containerd.kata.v2", ConfigPath="/etc/kata.toml"),
        shim("io.containerd.runsc.v1", TypeUrl="io.containerd.runsc.v1.options", ConfigPath="/etc/runsc.toml"),
        shim("io.containerd.runsc.v1", TypeUrl="anything"),  # the shim reads it only with a ConfigPath
        shim("/opt/bin/containerd-shim-own-v1"),
        shim("a.b"),
        WELL,
    ],
)
def test_a_correct_runtime_has_no_lint(definition: Definition) -> None:
    assert lints(definition, LintFacts(binary="/usr/bin/x")) == ()


@pytest.mark.parametrize(
    ("definition", "code", "words"),
    [
        # Kubernetes: RFC 1123 labels only
        (path("/r", name="Kata"), "name-not-a-handler", "cannot use Kata"),
        (path("/r", name="a_b"), "name-not-a-handler", "RuntimeClass"),
        (path("/r", name="a.b"), "name-not-a-handler", "RuntimeClass"),
        (path("/r", name="-a"), "name-not-a-handler", "either end"),
        (path("/r", name="a-"), "name-not-a-handler", "either end"),
        (path("/r", name="a" * 64), "name-not-a-handler", "at most 63"),
        (path("/r", name="é"), "name-not-a-handler", "cannot use é"),
        (path("/r", name="\u0661"), "name-not-a-handler", "digits"),  # a digit, but not of ASCII
        (path("/r", name="a\nb"), "name-not-a-handler", '"a\\nb"'),
        # a client that means the shim gets this instead
        (path("/r", name=RUNC_SHIM), "stock-overridden", "takes the place of the stock runtime"),
        # depends on where the shim runs
        (path("bin/runc"), "relative-path", 'path "bin/runc"'),
        (path("./runc"), "relative-path", "absolute path"),
        (shim(RUNC_SHIM, BinaryName="bin/crun", SystemdCgroup=True), "relative-path", 'BinaryName "bin/crun"'),
        (shim(RUNC_SHIM, BinaryName="/r", Root="run"), "relative-path", 'Root "run"'),
        (shim("io.containerd.kata.v2", ConfigPath="kata.toml"), "relative-path", 'ConfigPath "kata.toml"'),
        # depends on the shim's PATH
        (path("crun"), "bare-name", "on the PATH of containerd's shim"),
        (shim(RUNC_SHIM, BinaryName="crun"), "bare-name", 'BinaryName "crun"'),
        (shim(RUNC_SHIM), "binary-name-missing", "options.BinaryName"),
        (shim(RUNC_SHIM, NoPivotRoot=False), "binary-name-missing", "first runc on its own PATH"),
        (shim(RUNC_SHIM, BinaryName=""), "binary-name-missing", "first runc"),
        # runtimes with shims of their own
        (path("/usr/local/bin/runsc"), "own-shim", "io.containerd.runsc.v1"),
        (path("/usr/local/bin/runsc", "--platform=kvm"), "own-shim", "containerd-shim-runsc-v1"),
        (path("/opt/kata/bin/kata-runtime"), "own-shim", "io.containerd.kata.v2"),
        (shim(RUNC_SHIM, BinaryName="/usr/bin/runsc"), "own-shim", "in place of BinaryName"),
        (path("/opt/kata/bin/containerd-shim-kata-v2"), "path-is-a-shim", "runtimeType"),
        # several words in one item
        (path("/r", "--a --b"), "argument-is-a-command-line", "one single argument"),
        (path("/r", "--root /run/x"), "argument-is-a-command-line", "a separate item"),
        (path("/r", "--debug "), "argument-is-a-command-line", "blanks"),
        (path("/r", "--a=1\t--b=2"), "argument-is-a-command-line", "dockerd splits"),
        (path("/r", "-v\n-w"), "argument-is-a-command-line", '"-v\\n-w"'),
        # written for a shell
        (path("/r", "--root=$HOME/x"), "argument-is-not-expanded", "no shell expands it"),
        (path("/r", "--label='a b'"), "argument-is-not-expanded", "quotes"),
        (path("/r", "`hostname`"), "argument-is-not-expanded", "as it is"),
        (path("/r", "~/x"), "argument-is-not-expanded", "as it is"),
        # shim names that containerd refuses
        (shim("kata"), "shim-name-refused", "at least two parts"),
        (shim("a."), "shim-name-refused", "at least two parts"),
        (shim(".a"), "shim-name-refused", "at least two parts"),
        (shim("bin/a.b"), "shim-name-refused", "absolute path"),
        (shim(".io.containerd.kata.v2"), "shim-name-refused", "from 1.7 on"),
        (shim("io.containerd.runc.v1", BinaryName="/r"), "shim-removed", 'containerd 2 has no "io.containerd.runc.v1"'),
        (shim("io.containerd.runtime.v1.linux"), "shim-removed", RUNC_SHIM),
        # options that some containerd ignores
        (shim(RUNC_SHIM, BinaryName="/r", CriuPath="/usr/sbin/criu"), "criu-path-ignored", "leave it out"),
        (shim(RUNC_SHIM, BinaryName="/r", TaskApiAddress="unix:///x"), "task-api-ignored", "TaskApiAddress"),
        (shim(RUNC_SHIM, BinaryName="/r", TaskApiVersion=3), "task-api-ignored", "needs containerd 2"),
        (shim("io.containerd.kata.v2", ConfigBody="x"), "config-body-ignored", "ConfigPath"),
        # gVisor's shim fails on it
        (shim("io.containerd.runsc.v1", ConfigPath="/etc/r.toml"), "type-url-refused", "TypeUrl"),
        (shim("io.containerd.runsc.v1", ConfigPath="/r", TypeUrl="runsc"), "type-url-refused", "gVisor's shim refuses"),
        # a way out of the container
        (shim(RUNC_SHIM, BinaryName="/r", NoPivotRoot=True), "no-pivot-root", "NoPivotRoot is true"),
    ],
)
def test_each_misleading_setting_has_its_lint(definition: Definition, code: str, words: str) -> None:
    found = lints(definition)
    assert [lint.code for lint in found] == [code]
    assert words in found[0].message
    assert found[0].message.isprintable()


def test_the_lint_for_a_path_with_arguments_gives_the_correct_entry() -> None:
    (found,) = lints(path("/usr/bin/crun --debug --log x"))
    assert found.code == "path-is-a-command-line"
    assert 'path "/usr/bin/crun" and runtimeArgs ["--debug", "--log", "x"]' in found.message
    assert codes(path("/opt/my runtimes/crun")) == [], "a blank is legal"
    assert "path-is-a-command-line" in codes(shim(RUNC_SHIM, BinaryName="/usr/bin/crun --debug", SystemdCgroup=True))


def test_a_file_that_the_kernel_refuses_has_a_lint() -> None:
    found = lints(path("/usr/bin/crun"), LintFacts(refusal="the kernel cannot execute it: no program"))
    assert [lint.code for lint in found] == ["not-executable"]
    assert "the kernel cannot execute it: no program" in found[0].message


def test_a_runtime_may_have_several_lints() -> None:
    definition = path("runsc", "--a --b", "--c --d", "$x", name="gVisor")
    expected = ["name-not-a-handler", "bare-name", "own-shim", *["argument-is-a-command-line"] * 2]
    assert codes(definition) == [*expected, "argument-is-not-expanded"]
    # one code for each pair of option and shim, none of them twice
    both = shim(RUNC_SHIM, BinaryName="/r", TaskApiAddress="a", TaskApiVersion=2)
    assert codes(both) == ["task-api-ignored", "task-api-ignored"]


@pytest.mark.parametrize(
    ("definition", "driver", "expected"),
    [
        # exec-opts reach path runtimes, and only them
        (path("/r"), "systemd", []),
        (path("/r"), "cgroupfs", []),
        (shim(RUNC_SHIM, BinaryName="/r"), "systemd", ["cgroup-driver-ignored"]),
        (shim(RUNC_SHIM, BinaryName="/r", SystemdCgroup=True), "systemd", []),
        (shim(RUNC_SHIM, BinaryName="/r", SystemdCgroup=True), "cgroupfs", ["cgroup-driver-ignored"]),
        (shim(RUNC_SHIM, BinaryName="/r"), "cgroupfs", []),
        # no driver is set
        (shim(RUNC_SHIM, BinaryName="/r"), None, []),
        # other shims have other ways
        (shim("io.containerd.kata.v2"), "systemd", []),
    ],
)
def test_a_cgroup_driver_without_effect_has_a_lint(
    definition: Definition, driver: str | None, expected: list[str]
) -> None:
    assert codes(definition, driver=driver) == expected


def test_the_systemd_cgroup_driver_without_systemd_has_a_lint() -> None:
    assert codes(path("/r"), driver="systemd", systemd=False) == ["systemd-not-running"]
    assert codes(path("/r"), driver="systemd", systemd=False, name="runc") == ["systemd-not-running"]
    assert codes(path("/r"), driver="systemd") == codes(path("/r"), systemd=False) == []
    assert codes(WELL, systemd=False) == ["systemd-not-running"]


def test_a_binary_without_systemd_support_has_a_lint() -> None:
    assert codes(path("/r"), known(cgroup={"systemd": False})) == ["systemd-not-supported"]
    # null and absent mean "unknown" (features.md), and the feature matters only with the systemd driver
    for facts in (known(cgroup={"systemd": None}), known(cgroup={}), known(), known(cgroup=[]), LintFacts()):
        assert codes(path("/r"), facts) == []
    assert codes(path("/r"), LintFacts(features=PENDING)) == []
    assert codes(path("/r"), known(cgroup={"systemd": False}), driver="cgroupfs") == []


def test_a_replaceable_binary_has_a_lint_for_each_runtime() -> None:
    facts = LintFacts(binary="/r", replaceable="/tmp/r can be changed by everybody; run: chmod go-w /tmp/r")
    for name in ("x", "runc"):
        (lint,) = lints(path("/r"), facts, name=name)
        assert lint.code == "replaceable-binary"
        assert lint.message.endswith(str(facts.replaceable))


def test_the_lint_about_pivot_root_names_the_ramdisk() -> None:
    for name in ("x", "runc"):
        (lint,) = lints(path("/r"), ramdisk=True, name=name)
        assert lint.code == "no-pivot-root"
        assert "DOCKER_RAMDISK" in lint.message


def test_a_stock_runtime_has_no_lint_about_its_entry() -> None:
    for name in ("runc", RUNC_SHIM):
        assert lints(path("/r"), name=name) == ()


@given(name=st.text(min_size=1), file=st.text(min_size=1), argument=st.text())
def test_each_message_is_one_printable_line(name: str, file: str, argument: str) -> None:
    for lint in lints(Definition(f"x{name}", path=file, args=(argument,))):
        assert lint.message.isprintable()
        assert len(lint.message) < 700
