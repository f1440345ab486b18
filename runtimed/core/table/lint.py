"""Finds legal settings of a runtime that have another effect than intended, or that are dangerous.

A lint never rejects a configuration: runtimed accepts every entry that dockerd accepts. The message of a lint gives the
effect and the remedy. Where another program sets a rule, a comment names the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from runtimed.core.containerd.names import RUNC_SHIM, shim_binary_name
from runtimed.core.containerd.options import RUNC_SHIMS, Value
from runtimed.core.features import Features
from runtimed.core.message_text import called, shown
from runtimed.core.table.generation import Generation, Runtime

# Kubernetes takes an RFC 1123 label as the handler of a RuntimeClass (node.k8s.io/v1).
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# A blank is legal in a file name; a blank and an option after it mean that a command line was intended.
_BEFORE_OPTION = re.compile(r"\s+(?=-)")
_SHELL_SYNTAX = re.compile(r"""[$`"']|^~/""")
_RUNSC = "io.containerd.runsc.v1"
_RUNSC_URL = "io.containerd.runsc.v1.options"
# Runtimes that have a shim, by file name.
_OWN_SHIMS = {"runsc": _RUNSC, "kata-runtime": "io.containerd.kata.v2"}
# containerd 2.0 removed both (containerd's RELEASES.md).
_REMOVED_SHIMS = ("io.containerd.runc.v1", "io.containerd.runtime.v1.linux")


@dataclass(frozen=True, slots=True)
class Lint:
    """A remark on a runtime: a stable ``code``, and a message with the effect and the remedy."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class LintFacts:
    """The facts about the binary that a runtime leads to, an absolute path; None for unknown ones."""

    binary: str | None = None
    # Why other users could replace the binary.
    replaceable: str | None = None
    features: Features | None = None
    # Why the kernel refuses to execute the binary.
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class _Subject:
    """A runtime and the facts that the rules check; a mapping of the fields of their messages."""

    runtime: Runtime
    generation: Generation
    facts: LintFacts
    options: dict[str, Value]
    # The OCI runtime as configured, a path or a name, and the key of the entry that holds it.
    path: str
    key: str
    # The entry's runtimeType: a shim's name, or the path of its binary.
    shim_type: str
    # The item of runtimeArgs that the rules for arguments check.
    argument: str = ""

    def __getitem__(self, field: str) -> str:
        return _VALUES[field](self)

    @property
    def file(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def ignores_cgroup_driver(self) -> bool:
        driver = "systemd" if self.options.get("systemd_cgroup") else "cgroupfs"
        return self.runtime.shim in RUNC_SHIMS and self.generation.config.cgroup_driver not in (None, driver)

    @property
    def lacks_systemd_support(self) -> bool:
        """Whether the binary reports that it cannot use systemd's cgroups; null and absent mean unknown."""
        features = self.facts.features
        value: object = dict(features.features) if features is not None and features.features is not None else None
        for key in ("linux", "cgroup", "systemd"):
            value = value.get(key) if isinstance(value, dict) else None
        return value is False

    @property
    def relative_option(self) -> str:
        paths = {"Root": str(self.options.get("root", "")), "ConfigPath": str(self.options.get("config_path", ""))}
        return ", ".join(f"{key} {shown(path)}" for key, path in paths.items() if path and not path.startswith("/"))


@dataclass(frozen=True, slots=True)
class _Rule:
    code: str
    applies: Callable[[_Subject], object]
    # A format string with the fields in _VALUES.
    message: str


def lint_runtime(generation: Generation, runtime: Runtime, facts: LintFacts) -> tuple[Lint, ...]:
    """Return the lints on ``runtime`` in ``generation``."""
    options = dict(runtime.options.fields) if runtime.options is not None else {}
    definition = runtime.definition
    path = key = shim_type = ""
    if definition is not None and definition.path is not None:
        path, key = definition.path, "path"
    elif definition is not None:
        path, key, shim_type = str(options.get("binary_name", "")), "BinaryName", definition.runtime_type or ""
    subject = _Subject(runtime, generation, facts, options, path, key, shim_type)
    arguments = definition.args if definition is not None else ()
    return (
        *_apply(_ENTRY_RULES, subject),
        *(lint for each in arguments for lint in _apply(_ARGUMENT_RULES, replace(subject, argument=each))),
        *_apply(_OPTION_RULES, subject),
    )


def _apply(rules: tuple[_Rule, ...], subject: _Subject) -> Iterator[Lint]:
    return (Lint(rule.code, rule.message.format_map(subject)) for rule in rules if rule.applies(subject))


def _split_command_line(subject: _Subject) -> str:
    """Return the entry to write in place of a path that is a command line."""
    file, *rest = _BEFORE_OPTION.split(subject.path, maxsplit=1)
    if subject.key == "path":
        return f"path {shown(file)} and runtimeArgs [{', '.join(shown(word) for word in ' '.join(rest).split())}]"
    return f"{subject.key} {shown(file)}; arguments need a runtime with path and runtimeArgs"


# The fields of the messages. A call each, because a message needs only one or two of them.
_VALUES: Mapping[str, Callable[[_Subject], str]] = {
    "name": lambda s: called(s.runtime.name),
    "shim_type": lambda s: shown(s.shim_type),
    "key": lambda s: s.key,
    "path": lambda s: shown(s.path),
    "instead": _split_command_line,
    "file": lambda s: s.file,
    "own_shim": lambda s: shown(_OWN_SHIMS[s.file]),
    "own_shim_binary": lambda s: shim_binary_name(_OWN_SHIMS[s.file]),
    "argument": lambda s: shown(s.argument),
    "relative_option": lambda s: s.relative_option,
    "driver": lambda s: str(s.generation.config.cgroup_driver),
    "systemd_cgroup": lambda s: "true" if s.generation.config.cgroup_driver == "systemd" else "false",
    "refusal": lambda s: str(s.facts.refusal),
    "replaceable": lambda s: str(s.facts.replaceable),
    "pivot_cause": lambda s: "NoPivotRoot is true" if s.key == "BinaryName" else "DOCKER_RAMDISK is set",
}


def _is_command_line(argument: str) -> bool:
    first, *more = argument.split() or [""]
    if not first.startswith("-"):
        return False
    # The blank in "--label=a b" may be intended.
    return argument != argument.strip() or any(word.startswith("-") for word in more) or bool(more and "=" not in first)


_ENTRY_RULES = (
    _Rule(
        "stock-overridden",
        lambda s: s.runtime.name == RUNC_SHIM and s.runtime.definition is not None,
        "{name} takes the place of the stock runtime, also for clients that request the shim; rename it if unintended",
    ),
    _Rule(
        "name-not-a-handler",
        lambda s: s.runtime.name != RUNC_SHIM and _DNS_LABEL.fullmatch(s.runtime.name) is None,
        "Kubernetes cannot use {name} as the handler of a RuntimeClass: a handler has at most 63 lower-case letters, "
        "digits and '-', with no '-' at either end; choose another name for use with Kubernetes",
    ),
    _Rule(
        "shim-name-refused",
        lambda s: s.shim_type[:1] not in ("", "/") and ("/" in s.shim_type or not shim_binary_name(s.shim_type)),
        "containerd refuses runtimeType {shim_type}; give a name of at least two parts, or an absolute path",
    ),
    _Rule(
        "shim-name-refused",
        lambda s: s.shim_type.startswith(".") and "/" not in s.shim_type and shim_binary_name(s.shim_type),
        "containerd refuses runtimeType {shim_type} from 1.7 on, because it begins with a dot; remove the dot",
    ),
    _Rule(
        "shim-removed",
        lambda s: s.shim_type in _REMOVED_SHIMS,
        f"containerd 2 has no {{shim_type}}; give runtimeType {shown(RUNC_SHIM)}",
    ),
    _Rule(
        "path-is-a-command-line",
        lambda s: _BEFORE_OPTION.search(s.path),
        "{key} {path} is used as the name of one file, blanks included; write {instead}",
    ),
    _Rule(
        "relative-path",
        lambda s: "/" in s.path and not s.path.startswith("/"),
        "{key} {path} is relative to the working directory of the shim, not of this daemon; give an absolute path",
    ),
    _Rule(
        "bare-name",
        lambda s: s.path and "/" not in s.path,
        "{key} {path} is looked up on the PATH of containerd's shim when a container starts; that PATH may differ from "
        "this daemon's and lead to another binary than the one shown here; give an absolute path",
    ),
    _Rule(
        "own-shim",
        lambda s: s.file in _OWN_SHIMS,
        "{file} runs through runc's shim here, but another shim exists for it and its sandboxes; install "
        "{own_shim_binary} and give runtimeType {own_shim} in place of {key}",
    ),
    _Rule(
        "path-is-a-shim",
        lambda s: s.file.startswith("containerd-shim-"),
        "{key} {path} looks like a shim, but runc's shim executes it as an OCI runtime; give it as runtimeType",
    ),
)
_ARGUMENT_RULES = (
    _Rule(
        "argument-is-a-command-line",
        lambda s: _is_command_line(s.argument),
        "runtimeArgs: {argument} is one single argument (dockerd splits it at blanks); make each word a separate item",
    ),
    _Rule(
        "argument-is-not-expanded",
        lambda s: _SHELL_SYNTAX.search(s.argument) and not _is_command_line(s.argument),
        "runtimeArgs: {argument} is passed as it is: no shell expands it or removes quotes; write the expanded text",
    ),
)
_OPTION_RULES = (
    # containerd's api/types/runc/options/oci.proto
    _Rule(
        "binary-name-missing",
        lambda s: s.runtime.shim in RUNC_SHIMS and not s.options.get("binary_name"),
        "without BinaryName the shim executes the first runc on its own PATH; give options.BinaryName an absolute path",
    ),
    _Rule(
        "criu-path-ignored",
        lambda s: s.options.get("criu_path"),
        "containerd 2 ignores CriuPath: runc finds criu on its PATH; leave it out",
    ),
    _Rule(
        "task-api-ignored",
        lambda s: s.options.get("task_api_address"),
        "containerd before 2.0 ignores TaskApiAddress; it needs containerd 2",
    ),
    _Rule(
        "task-api-ignored",
        lambda s: s.options.get("task_api_version"),
        "containerd before 2.0 ignores TaskApiVersion; it needs containerd 2",
    ),
    _Rule(
        "relative-path",
        lambda s: s.relative_option,
        "{relative_option} is relative to the working directory of the shim; give an absolute path",
    ),
    _Rule(
        "cgroup-driver-ignored",
        lambda s: s.ignores_cgroup_driver,
        "native.cgroupdriver={driver} is for path runtimes only; set options.SystemdCgroup to {systemd_cgroup}",
    ),
    # containerd's api/types/runtimeoptions/v1/api.proto
    _Rule(
        "config-body-ignored",
        lambda s: s.options.get("config_body"),
        "a shim or containerd older than ConfigBody ignores it; for those, write a file and give ConfigPath",
    ),
    _Rule(
        # gVisor's shim (pkg/shim) does not read the TypeUrl of options without a ConfigPath.
        "type-url-refused",
        lambda s: s.runtime.shim == _RUNSC and s.options.get("config_path") and s.options.get("type_url") != _RUNSC_URL,
        f"gVisor's shim refuses a ConfigPath whose TypeUrl is not {shown(_RUNSC_URL)}; set TypeUrl to that",
    ),
    _Rule(
        "systemd-not-running",
        lambda s: s.options.get("systemd_cgroup") and not s.generation.host.facts.systemd,
        "the cgroup driver is systemd, but systemd does not run on this node, so containers fail to start; set "
        "native.cgroupdriver=cgroupfs in exec-opts, or SystemdCgroup to false",
    ),
    _Rule(
        "systemd-not-supported",
        lambda s: s.options.get("systemd_cgroup") and s.lacks_systemd_support,
        "the cgroup driver is systemd, but the binary reports that it was built without systemd support; set "
        "native.cgroupdriver=cgroupfs in exec-opts, or SystemdCgroup to false, or install another build",
    ),
    _Rule(
        "not-executable",
        lambda s: s.facts.refusal is not None,
        "{refusal}; install a program that is built for this machine",
    ),
    _Rule(
        "replaceable-binary",
        lambda s: s.facts.replaceable is not None,
        "other users could replace the binary that root executes: {replaceable}",
    ),
    _Rule(
        "no-pivot-root",
        lambda s: s.options.get("no_pivot_root"),
        "without pivot_root ({pivot_cause}) containers may reach the files of the node; use this on a ramdisk only",
    ),
)
