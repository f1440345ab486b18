"""Implements the verb test, which starts a tiny container with a runtime and shows the evidence."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from threading import Event
from types import FrameType
from typing import Any

from runtimed.cli import verbs
from runtimed.cli.proof_lines import render_evidence
from runtimed.client import Client, ClientError
from runtimed.core.config import Engine
from runtimed.core.errors import TestInterrupted
from runtimed.core.history.layout import PINS
from runtimed.core.message_text import printable
from runtimed.core.proof.engine import Traces
from runtimed.core.proof.evidence import Evidence, name_leftovers
from runtimed.host.proof.bundle import RUN, abandoned_bundles, remove_bundle
from runtimed.host.proof.containerd_leftovers import abandoned_namespaces
from runtimed.host.proof.leftovers import remove_all
from runtimed.host.proof.runner import Conditions, run_test

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Added to the number of a signal for the exit status.
_SIGNALLED = 128
# Bound of the characters of a detail; a request has room for them, whatever their encoding is.
_DETAIL_MAX = 600
_RECORD_HINT = "test the runtime again while the daemon runs"


def test(client: Client, args: Namespace) -> int:
    """Test a runtime, or each runtime of the table."""
    if os.geteuid() != 0:
        verbs.fail("a test starts a container, which only root can do", "run it with sudo, or as root")
        return verbs.USAGE
    conditions = _make_conditions(client, args)
    names = _names(client) if args.all else [args.name]
    found: list[Evidence] = []
    with _catch_signals() as caught:
        for traces in abandoned_bundles():
            _clean_up_killed(traces)
        try:
            for name in names:
                found.append(_test_runtime(client, name, conditions, caught.event))
                if not args.json:
                    verbs.print_lines([*([""] if len(found) > 1 else []), *render_evidence(found[-1], args.terminal)])
                    sys.stdout.flush()
        except TestInterrupted:
            verbs.complain("runtimectl: interrupted; the container of the test is removed")
            return _SIGNALLED + caught.number
        # At the end, because only a test through containerd loads grpc.
        if any(evidence["engine"] == "containerd" for evidence in found):
            for containerd in conditions.containerds:
                for traces in abandoned_namespaces(containerd, RUN):
                    _clean_up_killed(traces)
    if args.json:
        verbs.print_json({"tests": found})
    passed = all(evidence["outcome"] == "passed" and evidence["proof"] is not None for evidence in found)
    return verbs.OK if passed else verbs.REFUSED


def _make_conditions(client: Client, args: Namespace) -> Conditions:
    status = client.status()
    settings: Any = client.generation(status["generation"])["config"].get("runtimed", {})
    pins = f"{status['exec_root']}/{PINS}"
    containerds = [Engine(**entry) for entry in settings.get("containerd", ())]
    return Conditions(args.engine, args.timeout, pins, containerds)


def _names(client: Client) -> list[str]:
    """Return the runtimes of the table without the built-in ones that this node does not have."""
    runtimes = client.runtimes()["runtimes"]
    return [each["name"] for each in runtimes if each["source"] == "configured" or each["binary"] or each["default"]]


def _test_runtime(client: Client, name: str, conditions: Conditions, stopped: Event) -> Evidence:
    """Return the evidence of a test of the runtime ``name``, recorded. Raises: TestInterrupted, ClientError."""
    runtime = client.explain(name)
    # By number and digest, because the table may change between both requests.
    pinned = runtime["generation"], runtime["digest"]
    resolution = client.resolve(name, *pinned) if runtime["available"] else None
    evidence = run_test(runtime, resolution, conditions, stopped)
    _record(client, evidence, runtime["identity"])
    return evidence


def _record(client: Client, evidence: Evidence, identity: str | None) -> None:
    """Have the daemon record the test, unless no engine could run it; tell of a failure."""
    name, engine, failure = evidence["runtime"], evidence["engine"], evidence["failure"]
    if engine is None or identity is None:
        return
    detail = "" if failure is None else printable(f"{failure['step']}: {failure['reason']}")[:_DETAIL_MAX]
    test = {"digest": evidence["digest"], "identity": identity}
    try:
        proof = client.record_proof(name, outcome=evidence["outcome"], engine=engine, detail=detail, **test)
        evidence["proof"] = proof["state"]
    except ClientError as error:
        verbs.fail(f"the daemon has not recorded the test of {name}: {error}", error.hint or _RECORD_HINT)


def _clean_up_killed(traces: Traces) -> None:
    """Remove everything that a killed test has left."""
    remaining = remove_all(traces)
    if not remaining and remove_bundle(traces.bundle):
        verbs.complain(f"note: removed the container of the killed test {traces.id}")
    else:
        names = name_leftovers(remaining) or traces.bundle
        verbs.complain(f"warning: {names} of the killed test {traces.id} cannot be removed; the next test tries again")


class _Caught:
    """The signals that interrupt a test: the first sets ``event``; ``number`` is its number."""

    def __init__(self) -> None:
        self.event = Event()
        self.number = 0

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal."""
        self.number = self.number or number
        self.event.set()


@contextlib.contextmanager
def _catch_signals() -> Iterator[_Caught]:
    """Yield the signals that this process gets. An engine looks at them where a test can end without leftovers."""
    caught = _Caught()
    # One that is ignored stays so, as for nohup(1).
    wanted = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, caught.handle) for number in wanted}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
