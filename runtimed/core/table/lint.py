"""What is legal in a runtime's entry and still does not do what it seems to do, or is dangerous.

A lint never rejects anything: the configuration is dockerd's, and what dockerd accepts is accepted. Each has a stable
``code`` and says what happens and what to do. The sources of the rules that are not ours stand beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runtimed.core.containerd.names import RUNC_SHIM, shim_binary_name
from runtimed.core.containerd.options import RUNC, RUNC_SHIMS, Value
from runtimed.core.features import Features
from runtimed.core.message_text import called, shown
from runtimed.core.table.generation import Generation, Runtime

# A Kubernetes RuntimeClass takes as its handler what RFC 1123 calls a label: "must be lowercase, conform to the DNS
# Label (RFC 1123) requirements" (node.k8s.io/v1).
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)

# File names of runtimes that containerd is given through a shim of their own.
_OWN_SHIMS = {"runsc": "io.containerd.runsc.v1", "kata-runtime": "io.containerd.kata.v2"}
_RUNSC_SHIM = "io.containerd.runsc.v1"
_RUNSC_TYPE_URL = "io.containerd.runsc.v1.options"
# containerd's list of removals (releases.md): both are gone from 2.0 on.
_REMOVED_SHIMS = ("io.containerd.runc.v1", "io.containerd.runtime.v1.linux")
_TASK_API = {"task_api_address": "TaskApiAddress", "task_api_version": "TaskApiVersion"}


@dataclass(frozen=True, slots=True)
class Lint:
    """One thing to know about a runtime: a stable ``code``, and what happens and what to do in words."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class LintFacts:
    """What the host knows of the binary that a runtime leads to; None where it does not know.

    ``binary``: its absolute path; ``replaceable``: why somebody else could replace it; ``features``: what it says;
    ``refusal``: why the kernel refuses to execute it.
    """

    binary: str | None = None
    replaceable: str | None = None
    features: Features | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class _Subject:
    """A runtime and what the rules ask about it."""

    generation: Generation
    runtime: Runtime
    facts: LintFacts
    options: dict[str, Value]
    # What the runc shim is told to execute, as configured: a path, a name, or "" for what it takes by itself.
    path: str
    # Where that stands in the entry.
    key: str


def lint_runtime(generation: Generation, runtime: Runtime, facts: LintFacts) -> tuple[Lint, ...]:
    """Return what is ineffective or dangerous about ``runtime`` in ``generation``; nothing where all is well."""
    definition = runtime.definition
    options = dict(runtime.options.fields) if runtime.options is not None else {}
    if definition is None:
        path, key = "", ""
    elif definition.path is not None:
        path, key = definition.path, "path"
    else:
        path, key = str(options.get("binary_name", "")), "BinaryName"
    subject = _Subject(generation, runtime, facts, options, path, key)
    rules = _RULES if definition is not None else _STOCK_RULES
    return tuple(lint for rule in rules for lint in rule(subject))


def _name(subject: _Subject) -> Iterator[Lint]:
    name = subject.runtime.name
    if name == RUNC_SHIM:
        yield Lint(
            "stock-overridden",
            f"the entry {RUNC_SHIM} takes the place of the stock runtime of that name, also for clients that mean the "
            f"shim itself; give the entry another name unless that is meant",
        )
    elif _DNS_LABEL.fullmatch(name) is None:
        yield Lint(
            "name-not-a-handler",
            f"Kubernetes cannot use {called(name)} as the handler of a RuntimeClass, which has to be at most 63 "
            "lower-case letters, digits and '-', with no '-' at either end; choose another name where that matters",
        )


def _path(subject: _Subject) -> Iterator[Lint]:
    path, key = subject.path, subject.key
    # A blank is legal in a file's name; an option after it says that a command line was meant.
    if (words := re.search(r"\s+(?=-)", path)) is not None:
        file, arguments = path[: words.start()], path[words.end() :].split()
        yield Lint(
            "path-is-a-command-line",
            f"{key} {shown(path)} is taken as the name of one file, blanks and all, so there is no such file; "
            + (
                f"write path {shown(file)} and runtimeArgs [{', '.join(map(shown, arguments))}]"
                if key == "path"
                else f"write {key} {shown(file)}; arguments need a runtime with path and runtimeArgs"
            ),
        )
    if not path or path.startswith("/"):
        return
    if "/" in path:
        yield Lint(
            "relative-path",
            f"{key} {shown(path)} is relative: what it leads to depends on the directory that the shim happens to run "
            "in, and that is not this daemon's; give an absolute path",
        )
    else:
        yield Lint(
            "bare-name",
            f"{key} {shown(path)} is looked up on the PATH of containerd's shim when a container starts, which need "
            "not be this daemon's, so another binary than the one shown here may run; give an absolute path",
        )


def _kind(subject: _Subject) -> Iterator[Lint]:
    path, key = subject.path, subject.key
    file = path.rpartition("/")[2]
    if (shim := _OWN_SHIMS.get(file)) is not None:
        yield Lint(
            "own-shim",
            f"{file} is run through runc's shim here, but has one of its own that knows its sandboxes; install "
            f"{shim_binary_name(shim)} and give runtimeType {shown(shim)} in place of {key}",
        )
    elif file.startswith("containerd-shim-"):
        yield Lint(
            "path-is-a-shim",
            f"{key} {shown(path)} looks like a shim, but runc's shim will run it as an OCI runtime, which fails; give "
            "it as runtimeType (an absolute path is taken)",
        )


def _arguments(subject: _Subject) -> Iterator[Lint]:
    definition = subject.runtime.definition
    for argument in definition.args if definition is not None else ():
        if _is_command_line(argument):
            yield Lint(
                "argument-is-a-command-line",
                f"runtimeArgs: {shown(argument)} reaches the runtime as one single argument, blanks and all (dockerd "
                "splits it at the blanks); make each word an item of its own",
            )
        elif re.search(r"""[$`"']|^~/""", argument) is not None:
            yield Lint(
                "argument-is-not-expanded",
                f"runtimeArgs: {shown(argument)} reaches the runtime as it is: no shell expands it or takes its quotes "
                "away, as dockerd's does; write what is meant to arrive",
            )


def _is_command_line(argument: str) -> bool:
    """Return whether ``argument`` looks like options that were written in one string."""
    first, *more = argument.split() or [""]
    if not first.startswith("-"):
        return False
    # In "--label=a b" the blank may well be meant.
    return argument != argument.strip() or any(word.startswith("-") for word in more) or bool(more and "=" not in first)


def _shim(subject: _Subject) -> Iterator[Lint]:
    definition = subject.runtime.definition
    if definition is None or definition.runtime_type is None or definition.runtime_type.startswith("/"):
        return
    shim = subject.runtime.shim
    if "/" in shim or not shim_binary_name(shim):
        yield Lint(
            "shim-name-refused",
            f"containerd refuses runtimeType {shown(shim)}: it has to be a name of at least two parts, as "
            f"{RUNC_SHIM} is, or an absolute path; correct it",
        )
    elif shim.startswith("."):
        yield Lint(
            "shim-name-refused",
            f"containerd refuses runtimeType {shown(shim)} from 1.7 on, because it begins with a dot; correct it",
        )
    elif shim in _REMOVED_SHIMS:
        yield Lint("shim-removed", f"containerd 2 has no {shim} any more; give runtimeType {shown(RUNC_SHIM)}")


def _runc_options(subject: _Subject) -> Iterator[Lint]:
    """Yield what is wrong with the options of a runtimeType that is runc's shim (containerd's oci.proto)."""
    options = subject.options
    if subject.runtime.shim not in RUNC_SHIMS or subject.key == "path":
        return
    if not options.get("binary_name"):
        yield Lint(
            "binary-name-missing",
            "there is no BinaryName in options, so the shim takes the first runc on its own PATH, which need not be "
            "this daemon's; give options.BinaryName an absolute path",
        )
    if options.get("criu_path"):
        yield Lint("criu-path-ignored", "containerd 2 ignores CriuPath: runc finds criu on its PATH; leave it out")
    for field, key in _TASK_API.items():
        if options.get(field):
            yield Lint("task-api-ignored", f"containerd before 2.0 ignores {key}; it needs containerd 2")
    root = str(options.get("root", ""))
    if root and not root.startswith("/"):
        yield _relative("Root", root)
    driver = subject.generation.config.cgroup_driver
    if driver is not None and bool(options.get("systemd_cgroup")) != (driver == "systemd"):
        yield Lint(
            "cgroup-driver-ignored",
            f"native.cgroupdriver={driver} of exec-opts holds for path runtimes only, and here SystemdCgroup is "
            f"{_json(options.get('systemd_cgroup'))}; set options.SystemdCgroup to {_json(driver == 'systemd')}",
        )


def _generic_options(subject: _Subject) -> Iterator[Lint]:
    """Yield what is wrong with the options of any other shim (containerd's runtimeoptions/v1)."""
    config_path, type_url = str(subject.options.get("config_path", "")), subject.options.get("type_url")
    if config_path and not config_path.startswith("/"):
        yield _relative("ConfigPath", config_path)
    if subject.options.get("config_body"):
        yield Lint(
            "config-body-ignored",
            "ConfigBody is newer than ConfigPath, and a shim or containerd that does not know it ignores it; put the "
            "text into a file and give ConfigPath where that matters",
        )
    # gVisor's shim: a ConfigPath with another TypeUrl is an error (pkg/shim), and without one the TypeUrl is not read.
    if subject.runtime.shim == _RUNSC_SHIM and config_path and type_url != _RUNSC_TYPE_URL:
        yield Lint(
            "type-url-refused",
            f"gVisor's shim refuses a ConfigPath whose TypeUrl is not {shown(_RUNSC_TYPE_URL)}; set it to that",
        )


def _cgroups(subject: _Subject) -> Iterator[Lint]:
    if not _is_runc(subject) or not subject.options.get("systemd_cgroup"):
        return
    if not subject.generation.host.facts.systemd:
        yield Lint(
            "systemd-not-running",
            "control groups are to be made through systemd, but systemd does not run on this node, so containers will "
            "not start; set native.cgroupdriver=cgroupfs in exec-opts, or SystemdCgroup to false",
        )
    if _says(subject.facts.features, "linux", "cgroup", "systemd") is False:
        yield Lint(
            "systemd-not-supported",
            "control groups are to be made through systemd, but the binary says it was built without that; set "
            "native.cgroupdriver=cgroupfs in exec-opts, or SystemdCgroup to false, or install another build",
        )


def _refusal(subject: _Subject) -> Iterator[Lint]:
    if subject.facts.refusal is not None:
        yield Lint(
            "not-executable",
            f"{subject.facts.refusal}; install a program that is built for this machine",
        )


def _dangers(subject: _Subject) -> Iterator[Lint]:
    if subject.facts.replaceable is not None:
        yield Lint(
            "replaceable-binary",
            f"other users could replace the binary that root executes: {subject.facts.replaceable}",
        )
    if _is_runc(subject) and subject.options.get("no_pivot_root"):
        why = "DOCKER_RAMDISK is set" if subject.key != "BinaryName" else "NoPivotRoot is true"
        yield Lint(
            "no-pivot-root",
            f"containers are started without pivot_root ({why}), which leaves them a way out to the node's root file "
            "system; needed on a ramdisk only",
        )


def _is_runc(subject: _Subject) -> bool:
    return subject.runtime.options is not None and subject.runtime.options.type_url == RUNC


def _relative(key: str, path: str) -> Lint:
    message = f"{key} {shown(path)} is relative to whatever directory the shim happens to run in; give an absolute path"
    return Lint("relative-path", message)


def _json(flag: object) -> str:
    return "true" if flag else "false"


def _says(features: Features | None, *keys: str) -> object:
    """Return what ``features`` hold below ``keys``, None where they do not say."""
    value: object = dict(features.features) if features is not None and features.features is not None else None
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


_Rule = Callable[[_Subject], Iterator[Lint]]
_STOCK_RULES: tuple[_Rule, ...] = (_cgroups, _refusal, _dangers)
_RULES: tuple[_Rule, ...] = (
    *(_name, _shim, _path, _kind, _arguments, _runc_options, _generic_options),
    *_STOCK_RULES,
)
