"""JSON answers end with a line feed, so that a terminal's prompt begins on a line of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from harness.daemon import RunningDaemon, UnixConnection, new_daemon

TARGETS = (
    *("/v1/resolve", "/v1/resolve?runtime=a", "/v1/resolve?runtime=a.b", "/v1/resolve?runtime=a&generation=1"),
    *("/v1/resolve?runtime=nope", "/v1/runtimes", "/v1/runtimes/a", "/v1/runtimes/nope", "/v1/status"),
    *("/v1/generations", "/v1/generations/1", "/v1/generations/9", "/v1/diff?from=1&to=1", "/healthz"),
    *("/openapi.json", "/version", "/info", "/v1.40/info", "/v1.44/info", "/containers/json", "/events?until=x"),
    *("/nope", "/v1.44/nope", "/", "%", "/v1/status?nonsense=1", f"/{'a' * 9000}"),
)
POSTED = ("/v1/reload", "/v1/reload?dry_run=true", "/v1/gc?dry_run=true", "/version", "/v1/status")


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        daemon.write({"runtimes": {"a": {"path": "/bin/echo", "runtimeArgs": ["b"]}}})
        with daemon.running():
            yield daemon


@pytest.mark.parametrize(
    ("method", "target"), [*(("GET", target) for target in TARGETS), *(("POST", target) for target in POSTED)]
)
def test_a_json_response_ends_with_a_line_feed(daemon: RunningDaemon, method: str, target: str) -> None:
    with contextlib.closing(UnixConnection(str(daemon.socket))) as connection:
        for _ in range(2):  # the second may come from memory
            connection.request(method, target)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.getheader("Content-Type", "").partition("+")[0].endswith(("/json", "/problem"))
            json.loads(body)
            assert body.endswith(b"}\n")
            if answer.getheader("Connection") == "close":
                break
