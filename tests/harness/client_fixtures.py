"""Provides daemons for tests of the client and of runtimectl."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.clients import NewClient, new_in_loops
from harness.daemon import RunningDaemon, new_daemon
from harness.shell_names import KATA_SHIM
from harness.two_generations import AFTER, BEFORE

from runtimed.client import Client

# /bin/sh is everywhere, and the fixtures install the shim of "kata"; the binary of "gone" does not exist.
TABLE = {
    "default-runtime": "plain",
    "runtimes": {
        "plain": {"path": "/bin/sh"},
        "wrapped": {"path": "/bin/sh", "runtimeArgs": ["-e", "two words"]},
        "gone": {"path": "/nowhere/gone", "runtimeArgs": ["--x"]},
        "a/b?c=d&e%41+\N{LATIN SMALL LETTER E WITH ACUTE}": {"path": "/bin/sh"},
        "red\x1b[31m\nline": {"path": "/bin/sh"},
        "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/kata.toml"}},
    },
}


@pytest.fixture(scope="session")
def daemon() -> Iterator[RunningDaemon]:
    """Yield a daemon with TABLE, for tests that only read."""
    with new_daemon() as made:
        made.install(KATA_SHIM, "containerd-shim-runc-v2")
        made.write(TABLE)
        yield made.start()


@pytest.fixture(scope="session")
def twice() -> Iterator[RunningDaemon]:
    """Yield a daemon whose generation 1 is BEFORE and whose generation 2, the current one, is AFTER."""
    with new_daemon() as made:
        made.install(KATA_SHIM, "containerd-shim-runc-v2")
        made.write(BEFORE)
        made.start()
        made.write(AFTER)
        made.reload()
        assert made.status()["generation"] == 2, made.log()
        yield made


@pytest.fixture(params=[Client, new_in_loops], ids=["Client", "AsyncClient"])
def new_client(request: pytest.FixtureRequest) -> NewClient:
    """Return a class or function that makes a client; tests with it run for both clients."""
    made: NewClient = request.param
    return made


@pytest.fixture
def own_daemon() -> Iterator[RunningDaemon]:
    """Yield a daemon with one runtime, for a test that changes things."""
    with new_daemon() as made:
        made.write({"runtimes": {"plain": {"path": "/bin/sh"}}})
        yield made.start()
