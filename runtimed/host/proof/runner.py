"""Runs one test: makes the bundle, runs it by an engine, collects the evidence, and removes the leftovers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from runtimed.core.config import Engine as ContainerdEngine
from runtimed.core.errors import TestFailed
from runtimed.core.proof.command_line import choose_engine, decoded_options, make_command_line, shim_state, uses_systemd
from runtimed.core.proof.engine import Engine, EngineName, Leftover, Step, Traces
from runtimed.core.proof.evidence import Evidence, describe_leftovers, judge, new_evidence, read_output
from runtimed.core.proof.program import describe_program
from runtimed.host.proof.bundle import RUN, Bundle, inspect_node, new_bundle
from runtimed.host.proof.command_line import Direct, end_children
from runtimed.host.proof.leftovers import list_leftovers, remove_all
from runtimed.host.proof.tasks import Tasks

# Time for cgroups and processes to end after their container. It is shorter where the test has failed already, because
# then they are not the failure.
_SETTLE_S = 2.0
_SETTLE_AFTER_FAILURE_S = 0.3
_POLL_S = 0.02
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of a test: the ``engine``, None to choose it, and the bound of each step.

    ``pins`` is the directory in which launchers record containers. ``containerds`` are those of the setting
    ``runtimed.containerd``. ``directory`` gets the bundle.
    """

    engine: EngineName | None
    timeout_s: float
    pins: str
    containerds: Sequence[ContainerdEngine]
    directory: str = RUN


def run_test(
    runtime: Mapping[str, Any], resolution: Mapping[str, Any] | None, conditions: Conditions, stopped: Event
) -> Evidence:
    """Return the evidence of a test of ``runtime``, whose ``resolution`` is None if it is not available.

    Raises:
        TestInterrupted: ``stopped`` was set; the container is removed.
    """
    host = os.uname()
    evidence = new_evidence(runtime, {"release": host.release, "version": host.version})
    try:
        _test(evidence, runtime, resolution, conditions, stopped)
    except TestFailed as error:
        evidence["failure"] = {"step": error.step, "reason": error.reason}
    else:
        evidence["outcome"] = "passed"
    return evidence


def _test(
    evidence: Evidence,
    runtime: Mapping[str, Any],
    resolution: Mapping[str, Any] | None,
    conditions: Conditions,
    stopped: Event,
) -> None:
    """Fill ``evidence``. Raises: TestFailed, TestInterrupted."""
    evidence["engine"] = name = choose_engine(runtime, conditions.engine)
    if resolution is None:
        raise TestFailed("resolve", _explain(runtime) or runtime["reason"])
    with contextlib.ExitStack() as stack:
        systemd_cgroup = uses_systemd(resolution)
        try:
            made = new_bundle(inspect_node(), systemd_cgroup=systemd_cgroup, directory=conditions.directory)
            bundle = stack.enter_context(made)
            evidence["id"] = bundle.id
            engine, traces = _make_engine(name, bundle, runtime, resolution, conditions, stopped)
            bundle.record(traces)
        except OSError as error:
            raise TestFailed("create", f"the bundle cannot be made: {error}") from error
        _run_container(evidence, engine, traces, runtime)


def _make_engine(
    name: EngineName,
    bundle: Bundle,
    runtime: Mapping[str, Any],
    resolution: Mapping[str, Any],
    conditions: Conditions,
    stopped: Event,
) -> tuple[Engine, Traces]:
    """Return the engine for the test, and the traces that it leaves. Raises: TestFailed."""
    pin = f"{conditions.pins}/{bundle.id}" if conditions.pins else ""
    if name == "direct":
        command = make_command_line(runtime, resolution, bundle.id, bundle.path)
        traces = Traces(bundle.id, bundle.path, state=command.state, pin=pin)
        return Direct(command, bundle, conditions.timeout_s, stopped), traces
    if not conditions.containerds:
        raise TestFailed("resolve", "the setting runtimed.containerd names no containerd")
    # The first that runs.
    first, *others = conditions.containerds
    found = next((each for each in (first, *others) if os.path.exists(each.address)), first)
    traces = Traces(
        bundle.id,
        bundle.path,
        state=shim_state(resolution, bundle.id),
        pin=pin,
        containerd=found.address,
        containerd_state=found.state,
        containerd_root=found.known_root or "",
    )
    tasks = Tasks(bundle, resolution["shim"], decoded_options(resolution), found.address, conditions.timeout_s, stopped)
    return tasks, traces


def _run_container(evidence: Evidence, engine: Engine, traces: Traces, runtime: Mapping[str, Any]) -> None:
    """Run the container, fill ``evidence``, and remove all traces. Raises: TestFailed, TestInterrupted."""
    settle_s = _SETTLE_S
    try:
        try:
            _take_steps(evidence, engine)
        except BaseException:
            settle_s = _SETTLE_AFTER_FAILURE_S
            engine.abort()
            raise
        finally:
            _read_evidence(evidence, engine.output)
            _clean_up(evidence, traces, settle_s)
    except TestFailed as error:
        if error.step == "create" and (reason := _explain(runtime)) is not None:
            raise TestFailed("create", reason) from error
        raise
    seen = read_output(traces.id, engine.output)
    if (reason := judge(evidence["exit_status"] or 0, seen, engine.output)) is not None:
        raise TestFailed("evidence", reason)
    if evidence["leftovers"]:
        raise TestFailed("leftovers", describe_leftovers(evidence["leftovers"], evidence["remaining"]))


def _take_steps(evidence: Evidence, engine: Engine) -> None:
    def wait() -> None:
        evidence["exit_status"] = engine.wait()

    steps: Mapping[Step, Callable[[], None]] = {
        "create": engine.create,
        "start": engine.start,
        "wait": wait,
        "delete": engine.delete,
    }
    for step, take in steps.items():
        began_s = time.perf_counter()
        take()
        evidence["milliseconds"][step] = round((time.perf_counter() - began_s) * 1000, 1)


def _read_evidence(evidence: Evidence, output: bytes) -> None:
    seen = read_output(str(evidence["id"]), output)
    evidence["kernel"] = {"release": seen.release, "version": seen.version}
    evidence["uid_map"] = list(seen.uid_map)
    evidence["seccomp"] = seen.seccomp


def _clean_up(evidence: Evidence, traces: Traces, settle_s: float) -> None:
    """Wait until the runtime's own clean-up has ended, note the leftovers, and remove them."""
    deadline_s = time.monotonic() + settle_s
    while (left := _faults(list_leftovers(traces))) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    evidence["leftovers"] = left
    evidence["remaining"] = [*remove_all(traces)]
    # A shim is no child of this process.
    ended = [] if traces.containerd else end_children()
    if not any(each["kind"] == "process" for each in left):
        evidence["leftovers"] += [{"kind": "process", "name": name} for name in ended]


def _faults(leftovers: Sequence[Leftover]) -> list[Leftover]:
    """Return ``leftovers`` without those that are no fault of the runtime: pins, which the daemon removes."""
    return [each for each in leftovers if each["kind"] != "pin"]


def _explain(runtime: Mapping[str, Any]) -> str | None:
    """Return why the kernel cannot execute the binary of ``runtime``; None if it can, or if it is not known."""
    # The daemon names no binary once it knows that the kernel refuses the file.
    binary: str = runtime["binary"] or (runtime["definition"] or {}).get("path") or ""
    try:
        heads = []
        for path in (binary, "/proc/self/exe"):
            with open(path, "rb") as file:
                heads.append(file.read(_HEAD_BYTES))
    except OSError:
        return None
    return describe_program(binary, heads[0], heads[1], os.path.exists)
