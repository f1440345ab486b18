"""Defines the interface of an engine of tests, which runs one container, and the traces of a test on the node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, TypedDict

EngineName = Literal["direct", "containerd"]
# "resolve" comes before the container, "evidence" and "leftovers" come after it.
Step = Literal["resolve", "create", "start", "wait", "delete", "evidence", "leftovers"]
LeftoverKind = Literal["process", "mount", "cgroup", "unit", "state", "pin", "task", "container"]


class Engine(Protocol):
    """Runs the container of one test.

    Each method but ``abort`` raises `TestFailed`, also after its time-out, and `TestInterrupted` soon after an event
    that the engine was given is set. (A handler of signals sets it, so only its ``is_set`` may be called.) The caller
    calls ``create``, ``start``, ``wait`` and ``delete``, once each and in this order. After a failure, or
    where the test is interrupted, it calls ``abort`` instead of the rest.
    """

    @property
    def output(self) -> bytes:
        """The first bytes that the container's process has written to its stdout."""

    def create(self) -> None:
        """Create the container, whose process does not run yet."""

    def start(self) -> None:
        """Start the container's process."""

    def wait(self) -> int:
        """Wait for the end of the container's process; return its exit status, 128 + n after signal n."""

    def delete(self) -> None:
        """Delete the container."""

    def abort(self) -> None:
        """End and remove the container as far as possible, within a few seconds and without an error."""


class Leftover(TypedDict):
    """One thing that a runtime has left on the node."""

    kind: LeftoverKind
    name: str


@dataclass(frozen=True, slots=True)
class Traces:
    """The paths and sockets at which the test ``id`` leaves traces; they belong to this test alone.

    A file in the bundle's directory holds them, so that a later run can clean up after a killed one.
    """

    id: str
    # The directory of the bundle.
    bundle: str
    # The directory that the runtime gets as its --root, "" for none.
    state: str = ""
    # The file in which a launcher records the container, "" for none.
    pin: str = ""
    # containerd's socket, its state directory and its root directory; "" where the engine is not containerd.
    containerd: str = ""
    containerd_state: str = ""
    containerd_root: str = ""

    def to_json(self) -> bytes:
        """Return the traces as JSON, for `read_traces`."""
        return json.dumps(asdict(self)).encode()


_MORE = ("state", "pin", "containerd", "containerd_state", "containerd_root")


def read_traces(identifier: str, bundle: str, data: bytes) -> Traces:
    """Return the traces of a test from ``data``, the JSON of a test that may have been killed at any time."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        found = {}
    more = {key: str(found.get(key, "")) for key in _MORE}
    return Traces(identifier, bundle, **more)
