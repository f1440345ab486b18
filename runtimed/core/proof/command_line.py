"""Chooses the engine that tests a runtime, and makes the command line for a direct test."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.containerd.options import RUNC_SHIMS
from runtimed.core.errors import TestFailed
from runtimed.core.proof.engine import EngineName

# The root below which runc's shim keeps the states of containers, unless its options name another.
_SHIM_ROOT = "/run/containerd/runc"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The command line of a runtime: the program with its global options, and the options of ``create``."""

    words: tuple[str, ...]
    create: tuple[str, ...]
    # The directory for the states of containers, which belongs to one test.
    state: str


def choose_engine(runtime: Mapping[str, Any], wanted: EngineName | None) -> EngineName:
    """Return the engine for the test of ``runtime``, a body of GET /v1/runtimes/{name}.

    Raises:
        TestFailed: the engine ``wanted`` cannot run it.
    """
    has_command_line = runtime["stable_path"] is not None or runtime["shim"] in RUNC_SHIMS
    if wanted == "direct" and not has_command_line:
        shim = runtime["shim"]
        raise TestFailed("resolve", f"the shim {shim} is no program with a command line; use --engine containerd")
    return wanted or ("direct" if has_command_line else "containerd")


def uses_systemd(resolution: Mapping[str, Any]) -> bool:
    """Return whether the runtime of ``resolution``, a body of GET /v1/resolve, makes cgroups through systemd."""
    return bool(_fields(resolution).get("systemd_cgroup"))


def make_command_line(
    runtime: Mapping[str, Any], resolution: Mapping[str, Any], identifier: str, bundle: str
) -> CommandLine:
    """Return the command line with which an engine would call the runtime, but with a root for this test alone.

    The rules for options are those of containerd's shim for runc (``cmd/containerd-shim-runc-v2/process``).
    """
    fields = _fields(resolution)
    program = runtime["stable_path"] or fields.get("binary_name") or RUNC_NAME
    if "/" not in program:
        # The proof is about the file that the daemon has found: the PATH of this process may find another one.
        program = runtime["binary"] or program
    root = str(fields.get("root") or bundle).rstrip("/")
    state = f"{root}/{identifier}"
    words = [program, "--root", state]
    if fields.get("systemd_cgroup"):
        words.append("--systemd-cgroup")
    flags = {"no_pivot_root": "--no-pivot", "no_new_keyring": "--no-new-keyring"}
    return CommandLine(tuple(words), tuple(flag for field, flag in flags.items() if fields.get(field)), state)


def decoded_options(resolution: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Return the type_url and the value of the options for a shim, exactly as they are resolved; None for none."""
    options = resolution["options"]
    return None if options is None else (options["type_url"], base64.b64decode(options["value"]))


def shim_state(resolution: Mapping[str, Any], identifier: str) -> str:
    """Return the directory in which runc's shim has the states of containers of the namespace ``identifier``."""
    root = str(_fields(resolution).get("root") or _SHIM_ROOT).rstrip("/")
    return f"{root}/{identifier}"


def _fields(resolution: Mapping[str, Any]) -> Mapping[str, Any]:
    options = resolution["options"]
    return {} if options is None else dict(options["fields"])
