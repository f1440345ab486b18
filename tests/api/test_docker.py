"""Tests the Docker Engine API with the requests of Docker's clients."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from harness.daemon import PATIENCE_S
from harness.functions import functions_of
from harness.lookup import look_up_each
from harness.parts import whole
from harness.server import HOST, Running, hang_up, read_reply, running, until

from runtimed.api.docker import Docker, docker_label, refuse_body
from runtimed.api.docker import node as node_module
from runtimed.api.docker.events import BadEventQuery, EventQuery, is_wanted, make_event, parse_event_query
from runtimed.api.messages import Answer, Request, Response, parse_target
from runtimed.api.sockets import Peer
from runtimed.api.stream import Channel, Stream
from runtimed.api.subscribers import NOTHING_READ, Subscribers
from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.drift import Drift
from runtimed.core.errors import BinaryUnavailable, TooManyWaiting
from runtimed.core.features import PENDING, Features
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts, Machine
from runtimed.core.table.generation import Generation, Host

ID = "0123456789abcdef0123456789abcdef"
TABLE: Mapping[str, Any] = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "gvisor": {"path": "runsc", "runtimeArgs": ["--x"]},
        'k"ata': {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/k"}},
    },
    "default-runtime": "crun",
}
STOCK = {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}}
SERVED = "/_ping, /version, /info, /events"


def build(table: Mapping[str, Any], *, cgroup2: bool = True) -> Generation:
    source = Source("/etc/d.json", json.dumps(table).encode())
    config = parse_configuration(Documents(source.path, source), Flags(), Settings("/data", "/exec", ("unix:///s",)))
    return build_generation(config, Host(Facts(cgroup2=cgroup2, systemd=True, ramdisk=False), "/data", "/exec"), 5)


class DockerApi:
    """A daemon whose state a test sets, behind the Docker Engine API."""

    def __init__(self) -> None:
        self.generation = build(TABLE)
        self.found = {"runc": "/usr/sbin/runc", "/usr/bin/crun": "/usr/bin/crun"}
        self.told: dict[str, Features] = {"/usr/sbin/runc": Features("known", {"ociVersionMin": "1.0.0"})}
        self.unwell: dict[str, str] = {}
        self.disk_fault: Exception | None = None
        self.looks = 0
        self.dropped: list[str] = []
        self.subscribers = Subscribers(self.dropped.append)
        self.docker = Docker(functions_of(self), self.subscribers)

    def current(self) -> Generation:
        return self.generation

    def faults(self) -> Mapping[str, str]:
        return self.unwell

    def identity(self) -> str:
        return ID

    def machine(self) -> Machine:
        return Machine("node1", "Debian GNU/Linux 12 (bookworm)", "6.1.0", "x86_64", 2, 8 * 2**30)

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        return look_up_each(self.look_up, files)

    def look_up(self, path: str) -> str:
        if path not in self.found:
            raise BinaryUnavailable(path, "not there")
        return self.found[path]

    def replaceable(self, binary: str) -> str | None:
        return None

    def features(self, binary: str) -> Features:
        self.looks += 1
        return self.told.get(binary, PENDING)

    def drift(self, binary: str) -> Drift | None:
        return None

    def in_binaries(self, _peer: Peer, function: Callable[..., Any], *args: object) -> Awaitable[Any]:
        async def call() -> Any:
            if self.disk_fault is not None:
                raise self.disk_fault
            return function(*args)

        return call()

    def answer(self, target: str, method: str = "GET") -> Answer:
        return self.docker(Request(method, parse_target(target.encode()), Peer(1, 0, 0)))

    async def response(self, target: str, method: str = "GET") -> Response:
        answer = self.answer(target, method)
        assert not isinstance(answer, Stream)
        return await whole(answer if isinstance(answer, Response) else await answer)

    async def get(self, target: str) -> Any:
        answer = await self.response(target)
        assert (answer.status, answer.content_type) == (200, "application/json")
        return json.loads(answer.body)

    async def failure(self, target: str, method: str = "GET") -> tuple[int, str]:
        answer = await self.response(target, method)
        assert answer.content_type == "application/json"
        (message,) = json.loads(answer.body).values()
        return answer.status, message


@pytest.fixture
def node() -> DockerApi:
    return DockerApi()


@pytest.mark.parametrize(
    ("target", "label"),
    [
        *((f"{version}{path}", path) for version in ("", "/v1.41", "/v99.9999") for path in SERVED.split(", ")),
        # every path with a version is Docker's, and so are those of dockerd
        *((path, "docker") for path in ("/v1.41/nix", "/v1.41", "/v1.41/", "/v1.41/v1.41/info", "/v1.41/resolve")),
        *((path, "docker") for path in ("/containers/json", "/images/x/y", "/grpc", "/info/", "/events/x")),
        # runtimed's own paths, and unknown ones
        *((path, None) for path in ("/", "/v1", "/v1/events", "/v1/info", "/v2/x", "/metrics", "/containerss", "*")),
        *((path, None) for path in ("/v1.x/info", "/v1./info", "/v.1/info", "/xv1.4/info", "/v1.4.4/info")),
    ],
)
def test_docker_s_paths_have_labels_of_their_own(target: str, label: str | None) -> None:
    assert docker_label(parse_target(target.encode()).segments) == label


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_ping_has_the_headers_for_version_negotiation(node: DockerApi, method: str) -> None:
    answer = await node.response("/_ping", method)
    assert (answer.status, answer.body, answer.content_type) == (200, b"OK", "text/plain; charset=utf-8")
    headers = dict(answer.headers)
    major, minor = map(int, headers["Api-Version"].split("."))
    assert (major, minor) >= (1, 44)
    assert (headers["Ostype"], headers["Docker-Experimental"], headers["Swarm"]) == ("linux", "false", "inactive")
    assert headers["Server"].startswith("runtimed/")


async def test_the_version_is_the_same_with_any_version_in_front(node: DockerApi) -> None:
    version = await node.get("/version")
    assert [await node.get(f"/v{other}/version") for other in ("1.24", "1.55", "2.0")] == [version] * 3
    assert (version["Os"], version["Arch"], version["KernelVersion"]) == ("linux", "amd64", "6.1.0")
    (engine,) = version["Components"]
    assert (engine["Name"], engine["Details"]["ApiVersion"]) == ("Engine", version["ApiVersion"])
    assert all(isinstance(value, str) for value in engine["Details"].values())


async def test_the_table_is_shown_as_daemon_json_has_it(node: DockerApi) -> None:
    info = await node.get("/v1.43/info")
    assert info["Runtimes"] == {**TABLE["runtimes"], **STOCK}
    assert info["DefaultRuntime"] == "crun"
    assert node.looks == 0, "what an old client cannot read is not looked for"


async def test_the_table_has_no_carried_keys_because_dockerd_has_none(node: DockerApi) -> None:
    carried = {"engines": {"containerd": {"snapshotter": "devmapper"}}}
    entries = {name: {**entry, **carried} for name, entry in TABLE["runtimes"].items()}
    node.generation = build({**TABLE, "runtimes": entries})
    assert (await node.get("/v1.43/info"))["Runtimes"] == {**TABLE["runtimes"], **STOCK}


async def test_info_describes_the_node(node: DockerApi) -> None:
    info = await node.get("/info")
    expected = {
        "ID": ID,
        "Name": "node1",
        "OSType": "linux",
        "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
        "Architecture": "x86_64",
        "NCPU": 2,
        "MemTotal": 8 * 2**30,
        "DockerRootDir": "/data",
        "Swarm": {"LocalNodeState": "inactive"},
        "CgroupDriver": "systemd",
        "CgroupVersion": "2",
        "Containers": 0,
        "Warnings": [],
    }
    assert {key: info[key] for key in expected} == expected
    node.generation = build({"exec-opts": ["native.cgroupdriver=cgroupfs"]}, cgroup2=False)
    info = await node.get("/info")
    assert (info["CgroupDriver"], info["CgroupVersion"]) == ("cgroupfs", "1")


@pytest.mark.parametrize("target", ["/info", "/v1.44/info", "/v1.55/info", "/v2.0/info"])
async def test_features_are_shown_from_version_1_44_on_where_they_are_known(node: DockerApi, target: str) -> None:
    runtimes = (await node.get(target))["Runtimes"]
    status = runtimes["runc"].pop("status")
    assert json.loads(status["org.opencontainers.runtime-spec.features"]) == {"ociVersionMin": "1.0.0"}
    assert runtimes["io.containerd.runc.v2"].pop("status") == status
    # the features of crun are not known yet, runsc is missing, kata has none
    assert runtimes == {**TABLE["runtimes"], **STOCK}
    assert node.looks == 2, "a binary is asked about once, however many runtimes execute it"


@pytest.mark.parametrize("fault", [TimeoutError(), TooManyWaiting(0, 256)])
async def test_features_are_left_out_if_the_disk_hangs_or_too_many_requests_wait(
    node: DockerApi, fault: Exception
) -> None:
    node.disk_fault = fault
    assert (await node.get("/info"))["Runtimes"] == {**TABLE["runtimes"], **STOCK}


async def test_the_features_in_one_response_are_bounded(node: DockerApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "_FEATURES_BYTES", 1000)
    node.generation = build({"runtimes": {f"r{number}": {"path": "runc"} for number in range(100)}})
    runtimes = (await node.get("/info"))["Runtimes"]
    assert len(runtimes) == 102
    assert 5 < sum("status" in entry for entry in runtimes.values()) < 20


async def test_reasons_why_the_daemon_is_degraded_are_warnings(node: DockerApi) -> None:
    node.unwell = {"configuration": "d.json:3: no"}
    assert (await node.get("/info"))["Warnings"] == ["WARNING: runtimed is degraded: configuration: d.json:3: no"]


@pytest.mark.parametrize(
    ("method", "target", "status", "words"),
    [
        ("GET", "/containers/json", 501, "ask dockerd for /containers"),
        ("POST", "/v1.50/containers/create", 501, "ask dockerd for /containers"),
        ("DELETE", "/v1.41/images/x", 501, "ask dockerd for /images"),
        ("GET", "/v1.41/nix", 404, "page not found"),
        ("GET", "/v1.41", 404, "page not found"),
        ("GET", "/v1.41/v1.41/info", 404, "page not found"),
        ("GET", "/info/", 404, "page not found"),
        ("GET", "/v1.41/v1/resolve", 404, "page not found"),
        ("POST", "/v1.41/info", 405, "/info takes GET and HEAD, not POST"),
        ("DELETE", "/_ping", 405, "/_ping takes GET and HEAD, not DELETE"),
    ],
)
async def test_a_response_to_other_paths_explains_that_this_is_runtimed(
    node: DockerApi, method: str, target: str, status: int, words: str
) -> None:
    found, message = await node.failure(target, method)
    assert found == status
    assert words in message
    assert "this is runtimed" in message
    assert SERVED in message


@pytest.mark.parametrize("target", [b"/v1.50/containers/create", b"/images/load?quiet=1", b"/session", b"/v1.41/build"])
def test_a_body_for_dockerd_is_refused_with_a_pointer_to_dockerd(target: bytes) -> None:
    refusal = refuse_body(target)
    assert refusal is not None
    assert refusal.status == 501
    assert b"ask dockerd for" in refusal.body


@pytest.mark.parametrize("target", [b"/v1/reload", b"/info", b"/v1.41/nix", b"/", b"*", b"/containersx", b"/v1.4", b""])
def test_a_body_for_another_path_is_not_refused_here(target: bytes) -> None:
    assert refuse_body(target) is None


async def test_a_client_that_creates_a_container_learns_that_this_is_runtimed(node: DockerApi) -> None:
    async with running() as run:
        body = b'{"Image": "x"}'
        head = b"POST /v1.50/containers/create HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)
        reader, writer = await run.connect()
        writer.write(head + body)
        reply = await read_reply(reader)
        assert reply.status == 501
        assert reply.headers["Content-Type"] == "application/json"
        assert "this is runtimed" in json.loads(reply.body)["message"]
        await hang_up(writer)


# Queries for events

NOON_NS = 1795521600 * 10**9


@pytest.mark.parametrize(
    ("text", "since_ns"),
    [
        ("", None),
        ("1795521600", NOON_NS),
        ("1795521600.5", NOON_NS + 5 * 10**8),
        ("1795521600.000000001", NOON_NS + 1),
        # smaller fractions are cut off
        ("1795521600.0000000019999", NOON_NS + 1),
        ("0", 0),
        ("-1", -(10**9)),
        ("2026-11-24T12:00:00Z", NOON_NS),
        ("2026-11-24T13:00:00.25+01:00", NOON_NS + 25 * 10**7),
        ("2026-11-24t12:00:00.000000001z", NOON_NS + 1),
    ],
)
def test_times_are_seconds_or_rfc_3339_to_the_nanosecond(text: str, since_ns: int | None) -> None:
    assert parse_event_query({"since": text}).since_ns == since_ns
    assert parse_event_query({"until": text}).until_ns == since_ns


@pytest.mark.parametrize(
    ("query", "words"),
    [
        *(({"since": text}, f"since is {text!r}") for text in ("x", "1e3", "1.", ".5", " 1", "+1", "nan", "٣")),
        *(({"until": text}, f"until is {text!r}") for text in ("10m", "2026-01-01", "2026-01-01T00:00:00", "9" * 30)),
        ({"until": "2026-02-30T00:00:00Z"}, "expected seconds since the epoch or RFC 3339"),
        ({"since": "2", "until": "1"}, "`since` time (2) cannot be after `until` time (1)"),
        *(({"filters": text}, "filters is") for text in ("x", "[]", '"type"', "{", "1", "[" * 100_000)),
        *(({"filters": text}, "expected JSON such as") for text in ('{"type": "daemon"}', '{"type": [1]}')),
        ({"filters": '{"type": {"daemon": 1}}'}, 'such as {"type": ["daemon"]}'),
    ],
)
async def test_a_bad_query_for_events_names_the_expected_form(
    node: DockerApi, query: dict[str, str], words: str
) -> None:
    with pytest.raises(BadEventQuery) as caught:
        parse_event_query(query)
    assert words in str(caught.value)


async def test_a_bad_query_is_a_400(node: DockerApi) -> None:
    status, message = await node.failure("/v1.41/events?since=x")
    assert (status, "since is 'x'" in message) == (400, True)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        # verdicts of dockerd 20.10 for a reload event
        ("", True),
        ("null", True),
        ("{}", True),
        ('{"type": ["daemon"]}', True),
        ('{"type": {"daemon": true}}', True),
        ('{"type": {"daemon": false}}', False),
        ('{"type": ["container"]}', False),
        ('{"type": ["container", "daemon"]}', True),
        ('{"type": []}', True),
        ('{"type": {}}', True),
        ('{"nix": ["x"]}', True),
        ('{"event": ["reload"], "daemon": ["node1"]}', True),
        ('{"event": ["relo"]}', False),
        ('{"daemon": ["n"]}', True),
        ('{"daemon": ["0123"]}', True),
        ('{"daemon": ["x"]}', False),
        ('{"label": ["runtimes"], "scope": ["local"]}', True),
        ('{"label": ["default-runtime=crun"]}', True),
        ('{"label": ["default-runtime=runc"]}', False),
        ('{"label": ["runtimes", "nix"]}', False),
        ('{"scope": ["swarm"]}', False),
        ('{"container": ["x"]}', False),
        ('{"image": ["x"], "type": ["daemon"]}', False),
    ],
)
def test_filters_follow_dockerd_s_rules(node: DockerApi, filters: str, wanted: bool) -> None:
    event = make_event(node.generation, "applied", ID, "node1", 1)
    assert is_wanted(event, parse_event_query({"filters": filters})) == wanted


# Events


def test_a_reload_is_an_event_in_dockerd_s_form(node: DockerApi) -> None:
    node.docker.reloaded(node.generation, "applied")
    (event,) = told(node.docker._reloads.earlier(EventQuery(0)))
    assert (event["Type"], event["Action"], event["scope"]) == ("daemon", "reload", "local")
    assert event["time"] == event["timeNano"] // 10**9
    assert abs(event["timeNano"] - time.time_ns()) < 60 * 10**9
    assert event["Actor"] == {
        "ID": ID,
        "Attributes": {
            "default-runtime": "crun",
            "generation": "5",
            "name": "node1",
            "outcome": "applied",
            "runtimes": 'crun:/usr/bin/crun gvisor:runsc io.containerd.runc.v2:runc k"ata: runc:runc',
        },
    }


def test_a_very_long_list_of_runtimes_is_omitted_with_a_remark() -> None:
    table = {"runtimes": {f"runtime-{number}": {"path": "/usr/bin/runtime"} for number in range(5000)}}
    event = make_event(build(table), "applied", ID, "node1", 1)
    assert "runtimes" not in event.attributes
    assert event.attributes["runtimes-omitted"] == "5002 runtimes; /info lists them"
    assert len(event.line) < 1000


@pytest.mark.parametrize(("more", "listed"), [(0, True), (1, False)])
def test_a_list_of_runtimes_may_have_64_kib(more: int, listed: bool) -> None:
    # Two runtimes and seventeen others, the last of which fills the list up.
    names = [f"s{number:02}" for number in range(17)]
    used = len("io.containerd.runc.v2:runc runc:runc") + sum(len(f" {name}:/é".encode()) for name in names)
    paths = ["/é" + "x" * 3900] * 16 + ["/é" + "x" * (65536 - used - 16 * 3900 + more)]
    table = {"runtimes": {name: {"path": path} for name, path in zip(names, paths, strict=True)}}
    event = make_event(build(table), "applied", ID, "node1", 1)
    assert ("runtimes" in event.attributes) == listed
    assert len(event.attributes.get("runtimes", "").encode()) == (65536 if listed else 0)


def test_kept_events_are_bounded_in_number_and_size(node: DockerApi) -> None:
    for number in range(300):
        node.docker._reloads.publish(make_event(node.generation, "applied", ID, "node1", number))
    assert [event["timeNano"] for event in told(node.docker._reloads.earlier(EventQuery(0)))] == [*range(44, 300)]
    node.generation = build({"runtimes": {f"runtime-{n}": {"path": "/usr/bin/runtime"} for n in range(1000)}})
    for _ in range(20):
        node.docker.reloaded(node.generation, "applied")
    kept = node.docker._reloads._kept
    assert 2 < len(kept) < 10
    assert node.docker._reloads._kept_bytes == sum(len(event.line) for event in kept) <= 256 * 1024


@pytest.mark.parametrize(
    ("query", "times"),
    [
        ("until=1", [10**9 - 1, 10**9]),
        ("since=1&until=2", [10**9, 10**9 + 1, 2 * 10**9]),
        ("since=1.000000001&until=1.999999999", [10**9 + 1]),
        ("since=3&until=3", []),
        ("since=0&until=2&filters=%7B%22type%22%3A%5B%22image%22%5D%7D", []),
        ("until=2&since=&filters=&unknown=x", [10**9 - 1, 10**9, 10**9 + 1, 2 * 10**9]),
    ],
)
async def test_a_query_until_an_earlier_time_gets_the_kept_events_at_once(
    node: DockerApi, query: str, times: list[int]
) -> None:
    for time_ns in (10**9 - 1, 10**9, 10**9 + 1, 2 * 10**9):
        node.docker._reloads.publish(make_event(node.generation, "applied", ID, "node1", time_ns))
    answer = await node.response(f"/events?{query}")
    assert answer.status == 200
    assert [event["timeNano"] for event in told(answer.body)] == times


class Listener:
    """A client that reads events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.writer = writer
        self._reader = reader
        # In a slow test `until` may be over before the request: then the response is complete at once.
        self._is_stream = b"Transfer-Encoding: chunked" in head

    async def event(self) -> Any:
        """Return the next event, None at the end."""
        if not self._is_stream:
            return json.loads(line) if (line := await self._reader.readline()) else None
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        data = await self._reader.readexactly(size + 2)
        return json.loads(data) if size else None


class Served:
    """The API behind a real server."""

    def __init__(self, run: Running, node: DockerApi) -> None:
        self.run = run
        self.node = node
        run.connections.handler = node.docker

    def reload(self, outcome: str = "applied") -> None:
        self.node.docker.reloaded(self.node.generation, outcome)

    async def listen(self, query: str = "") -> Listener:
        reader, writer = await self.run.connect()
        writer.write(f"GET /v1.41/events{query} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        assert b"Content-Type: application/json\r\n" in head
        listener = Listener(reader, writer, head)
        if b"Content-Length" in head:
            writer.write_eof()
        return listener


@asynccontextmanager
async def served(node: DockerApi) -> AsyncIterator[Served]:
    async with running() as run:
        yield Served(run, node)
    assert len(node.subscribers) == 0
    assert node.docker._reloads._channels == {}


def told(lines: bytes) -> list[Any]:
    return [json.loads(line) for line in lines.splitlines()]


async def test_a_client_gets_the_events_that_match_its_query_only(node: DockerApi) -> None:
    async with served(node) as here:
        all_of_them = await here.listen()
        none = await here.listen("?filters=%7B%22type%22%3A%7B%22image%22%3Atrue%7D%7D&until=9999999999")
        unchanged = await here.listen("?filters=%7B%22label%22%3A%5B%22outcome%3Dunchanged%22%5D%7D")
        here.reload()
        here.reload("unchanged")
        outcomes = [(await all_of_them.event())["Actor"]["Attributes"]["outcome"] for _ in range(2)]
        assert outcomes == ["applied", "unchanged"]
        assert (await unchanged.event())["Actor"]["Attributes"]["outcome"] == "unchanged"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await none.event()
        for listener in (all_of_them, none, unchanged):
            await hang_up(listener.writer)
        await until(lambda: len(node.subscribers) == 0)


async def test_a_query_since_a_time_gets_kept_events_first(node: DockerApi) -> None:
    async with served(node) as here:
        here.reload()
        since = await here.listen("?since=0")
        from_now_on = await here.listen()
        here.reload("unchanged")
        outcomes = [(await since.event())["Actor"]["Attributes"]["outcome"] for _ in range(2)]
        assert outcomes == ["applied", "unchanged"]
        assert (await from_now_on.event())["Actor"]["Attributes"]["outcome"] == "unchanged"
        await hang_up(since.writer)
        await hang_up(from_now_on.writer)


async def test_a_stream_ends_at_until(node: DockerApi) -> None:
    async with served(node) as here:
        here.reload()
        begun_s = time.time()
        listener = await here.listen(f"?until={begun_s + 0.3:.9f}")
        assert (await listener.event())["Action"] == "reload"
        assert await listener.event() is None
        assert time.time() > begun_s + 0.29
        assert len(node.subscribers) == 0
        await hang_up(listener.writer)


async def test_an_event_after_until_is_not_sent_even_if_the_end_is_late(node: DockerApi) -> None:
    async with served(node) as here:
        soon = time.time_ns() + 10**8
        listener = await here.listen(f"?until={soon / 10**9:.9f}")
        node.docker._reloads.publish(make_event(node.generation, "applied", ID, "node1", soon + 10**6))
        assert await listener.event() is None
        await hang_up(listener.writer)


async def test_a_disconnected_client_is_discarded_with_its_timer(node: DockerApi) -> None:
    async with served(node) as here:
        listener = await here.listen("?until=9999999999")
        ((_, timer),) = node.docker._reloads._channels.values()
        listener.writer.transport.abort()
        await until(lambda: len(node.subscribers) == 0)
        assert timer is not None
        assert timer.cancelled()


async def test_a_stop_ends_the_streams(node: DockerApi) -> None:
    async with served(node) as here:
        listener = await here.listen()
        assert await here.run.connections.drain(PATIENCE_S) == 0
        assert await listener.event() is None
        await hang_up(listener.writer)


async def test_a_client_that_does_not_read_is_dropped_and_others_are_not(node: DockerApi) -> None:
    node.generation = build({"runtimes": {f"runtime-{n}": {"path": "/usr/bin/runtime"} for n in range(1000)}})
    async with served(node) as here:
        silent, good = await here.listen(), await here.listen()
        for _ in range(100):
            here.reload()
            assert (await good.event())["Action"] == "reload"
            if node.dropped:
                break
        assert len(node.dropped) == len(node.subscribers) == 1
        await hang_up(silent.writer)
        await hang_up(good.writer)


async def test_a_client_that_reads_nothing_for_too_long_is_dropped(node: DockerApi) -> None:
    async with served(node) as here:
        listener = await here.listen()
        (connection,) = here.run.connections._members
        connection._channel.give_up()  # type: ignore[union-attr] # what the write time-out does
        assert await listener.event() is None
        assert node.dropped == [NOTHING_READ]
        await hang_up(listener.writer)
        await until(lambda: not node.docker._reloads._channels)


async def test_docker_s_clients_count_as_subscribers(node: DockerApi) -> None:
    others = [Channel(cast("asyncio.Transport", None), lambda _: None, lambda: None, chunked=False) for _ in range(256)]
    for other in others:
        node.subscribers.add(other, 0)
    status, message = await node.failure("/events")
    assert (status, "256 clients listen" in message) == (503, True)
    assert (await node.response("/events?until=1")).status == 200
    node.subscribers.discard(others[0])
    assert isinstance(node.answer("/events"), Stream)


async def test_head_of_events_is_a_complete_response(node: DockerApi) -> None:
    async with served(node) as here:
        reader, writer = await here.run.connect()
        writer.write(b"HEAD /events HTTP/1.1\r\n" + HOST + b"\r\nHEAD /_ping HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await read_reply(reader, body=False)).headers["Content-Type"] == "application/json"
        assert (await read_reply(reader, body=False)).headers["Api-Version"] == node_module.API_VERSION
        await hang_up(writer)
