"""Tests the routes without a socket: the status and body of each path."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from harness.description import check_answer
from harness.functions import functions_of
from harness.generation import manifest_of
from harness.lookup import Lookup, look_up_each
from harness.parts import whole
from prometheus_client.parser import text_string_to_metric_families

from runtimed import __version__
from runtimed.api.counters import Counters
from runtimed.api.docker import docker_label
from runtimed.api.events import Events
from runtimed.api.messages import Request, Response, parse_target
from runtimed.api.metrics import Figures
from runtimed.api.routes import Routes
from runtimed.api.sockets import Peer
from runtimed.api.stream import Stream
from runtimed.core import shapes
from runtimed.core.collection.collect import Collection
from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.containers import PinnedContainer, describe_containers, summarise_containers
from runtimed.core.drift import Drift
from runtimed.core.errors import (
    BinaryUnavailable,
    GenerationGone,
    NoSuchGeneration,
    Problem,
    ProofOutdated,
    TooManyWaiting,
)
from runtimed.core.features import Features
from runtimed.core.history.event_lines import render_event
from runtimed.core.history.retained import RetainedGeneration, Summary, read_retained, summarise_retained
from runtimed.core.history.trigger import Actor, ChangedSource, Trigger
from runtimed.core.pins import Pin
from runtimed.core.proof.record import Proof, judge_proof
from runtimed.core.report import Report, shorten
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts, Machine
from runtimed.core.table.generation import Generation, Host, Runtime

TABLE = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "gvisor": {"path": "runsc", "runtimeArgs": ["--x"]},
        "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/k"}},
        "a/b ü": {"path": "/ab"},
    },
    "default-runtime": "crun",
}

OLD_TABLE = {"runtimes": {"gvisor": {"path": "runsc", "runtimeArgs": ["--old"]}, "gone": {"path": "/gone"}}}


# An event of each kind that the daemon keeps on disk, and the time of each.
TRIGGER = Trigger(("api",), (Actor(0, 7, "runtimectl reload"),), (ChangedSource("/etc/d.json", "removed"),))
REJECTED = Report("rejected", 5, "api", problems=(Problem("no", "/f", 3),), repaired=("x",), trigger=TRIGGER)
KEPT = [
    render_event(kind, time_s, fields) or b""
    for time_s, (kind, fields) in enumerate(
        (
            ("reload", REJECTED.as_kept()),
            ("health", {"status": "degraded", "reasons": {"store": "full"}}),
            ("drift", {**Drift("/bin/x", "removed", reason="gone").as_dict(), "runtimes": ["x"], "runtime_count": 1}),
            ("drift", {"binary": "/bin/x", "kind": "back"}),
            ("drift", {"binary": None, "kind": "more", "count": 7}),
            ("gc", {"wrapper": "x-1", "asked_by": "uid 0, pid 7"}),
            ("engine", {"engine": "docker", "state": "follows", "detail": ""}),
            ("gap", {"reason": "the disk is broken"}),
        ),
        start=2,
    )
]


def build(table: object, number: int = 5) -> Generation:
    source = Source("/etc/d.json", json.dumps(table, indent=1).encode())
    settings = Settings("/data", "/exec", ("unix:///s",))
    config = parse_configuration(Documents(source.path, source), Flags(), settings)
    return build_generation(config, Host(Facts(cgroup2=True, systemd=True, ramdisk=False), "/data", "/exec"), number)


class FakeService:
    """A service whose state a test sets."""

    def __init__(self) -> None:
        self.generation = build(TABLE)
        self.generations = {3: build(OLD_TABLE, number=3), 5: self.generation}
        self.binaries = {"runsc": "/usr/bin/runsc", "/usr/bin/crun": "/usr/bin/crun", "runc": "/usr/sbin/runc"}
        self.disk_hangs = False
        # The user with too many waiting requests.
        self.crowded: int | None = None
        self.unwell: dict[str, str] = {}
        self.report = Report("applied", 5, "api")
        self.asked: list[tuple[int, bool]] = []
        self.drifts: dict[str, Drift] = {}
        self.engines: list[shapes.EngineStatus] = []
        self.proofs: dict[str, Proof] = {}
        self.proof_fault: Exception | None = None
        # /usr/bin/runsc is what the stable path led to in generation 3.
        self.pinned = [
            Pin("crun", "", "plain", "", "", "/usr/bin/crun"),
            Pin("gvisor", "/run/moby", "old\udcff", "/run/moby", "/b", "/usr/bin/runsc"),
        ]
        self.counters = Counters()
        self.events = Events(lambda _reason: None)
        self.routes = Routes(functions_of(self), self.events, self.counters)
        # The responses so far, as /openapi.json describes them.
        self.seen: set[tuple[str, str, int, str | None]] = set()

    def current(self) -> Generation:
        return self.generation

    def status(self) -> shapes.Status:
        return {
            "health": {"status": "ok", "reasons": {}},
            "generation": self.generation.number,
            "digest": self.generation.digest,
            "default_runtime": self.generation.config.default_runtime,
            "runtimes": len(self.generation.runtimes),
            "unavailable": [{"runtime": "nvidia", "path": "/usr/bin/nvidia", "reason": "no such file"}],
            "unavailable_count": 1,
            "last_reload": shorten(self.report.as_dict(), 100),
            "configuration": self.generation.config.path,
            "sources": list(self.generation.config.sources),
            "data_root": "/data",
            "exec_root": "/exec",
            "hosts": ["unix:///s"],
            "watcher": {"mode": "inotify", "alive": True, "faults": {}},
            "drift": [{**drift.as_dict(), "runtimes": ["crun"], "runtime_count": 1} for drift in self.drifts.values()],
            "drift_count": len(self.drifts),
            "containers": summarise_containers(self.containers(self.generation), unpinned=1).as_dict(),
            "engines": list(self.engines),
            "proofs": {
                "required": False,
                "states": {"proved": len(self.proofs), "not-proved": 5, "outdated": 0},
                "default": judge_proof(None, "", None),
                "remark": None,
            },
            "events": {"seq": self.events.last, "subscribers": len(self.events)},
            "uptime_s": 1.5,
            "pid": 1,
            "version": __version__,
        }

    def process_faults(self) -> Mapping[str, str]:
        return self.unwell

    def faults(self) -> Mapping[str, str]:
        return self.unwell

    def identity(self) -> str:
        return "0123456789abcdef0123456789abcdef"

    def machine(self) -> Machine:
        return Machine("node1", "Debian GNU/Linux 12 (bookworm)", "6.1.0", "x86_64", 2, 8 * 2**30)

    def retained(self) -> tuple[Summary, ...]:
        return tuple(summarise_retained(self.read_generation(number).manifest) for number in sorted(self.generations))

    def read_generation(self, number: int) -> RetainedGeneration:
        if number not in self.generations:
            raise GenerationGone(number, "is no longer retained") if 0 < number < 5 else NoSuchGeneration(number, 5)
        generation = self.generations[number]
        return read_retained(manifest_of(generation), generation.config_text)

    def read_events(self, number: int) -> bytes:
        return b"".join(KEPT) if number == 5 else b""

    def name_of(self, link: str) -> str:
        return link.upper()

    def generation_of(self, _link: str, target: str) -> int | None:
        return {"/usr/bin/crun": 5, "/usr/bin/runsc": 3}.get(target)

    def containers(self, generation: Generation) -> tuple[PinnedContainer, ...]:
        return describe_containers(self.pinned, generation, self.name_of, self.generation_of)

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        return look_up_each(self.look_up, files)

    def lookup(self, files: tuple[str, ...]) -> Lookup:
        return Lookup(files, self.look_up)

    def look_up(self, path: str) -> str:
        if path.startswith("/data/wrappers/"):
            return path
        if path not in self.binaries:
            raise BinaryUnavailable(path, "executable file not found in PATH")
        return self.binaries[path]

    def replaceable(self, binary: str) -> str | None:
        return "others can write it" if binary == "/usr/bin/crun" else None

    def features(self, binary: str) -> Features:
        return Features("known", features={"ociVersionMin": "1.0.0"})

    def drift(self, binary: str) -> Drift | None:
        return self.drifts.get(binary)

    def current_proof(self, runtime: Runtime) -> tuple[str | None, shapes.Proof]:
        return "sha256:now", judge_proof(self.proofs.get(runtime.name), runtime.answer.digest, "sha256:now")

    def last_proof(self, runtime: Runtime) -> tuple[str | None, shapes.Proof]:
        return None, judge_proof(self.proofs.get(runtime.name), runtime.answer.digest, None)

    async def record_proof(self, _peer: Peer, runtime: Runtime, proof: Proof) -> shapes.Proof:
        if self.proof_fault is not None:
            raise self.proof_fault
        if proof.identity != "sha256:now":
            raise ProofOutdated(runtime.name, "a binary")
        self.proofs[runtime.name] = proof
        return judge_proof(proof, proof.digest, proof.identity)

    def figures(self) -> Figures:
        return Figures(
            generation=self.generation.number,
            generations=2,
            runtimes={"available": 3, "missing": 1},
            default_available=True,
            faults=self.unwell,
            watcher_mode="inotify",
            watcher_alive=True,
            drift={"replaced": 1},
            connections=4,
            subscribers=0,
            wrappers=2,
            containers=summarise_containers(self.containers(self.generation), unpinned=1),
            proofs={"proved": 1, "not-proved": 2, "outdated": 3},
            default_proved=False,
            proof_required=True,
            engines=self.engines,
        )

    def may_change(self, peer: Peer) -> bool:
        return peer.uid == 0

    async def reload(self, peer: Peer, *, dry_run: bool) -> Report:
        self.asked.append((peer.uid, dry_run))
        return self.report

    async def collect(self, peer: Peer, *, dry_run: bool) -> Collection:
        self.asked.append((peer.uid, dry_run))
        return Collection((), (), ("a doubt",), dry_run=dry_run)

    def record_verification(self, engine: str, state: shapes.EngineState, detail: str) -> shapes.EngineStatus:
        recorded: shapes.EngineStatus = {"engine": engine, "state": state, "detail": detail, "time": 1.5}
        self.engines.append(recorded)
        return recorded

    def counted(self) -> dict[tuple[str, int], int]:
        return {key: histogram.count for key, histogram in self.counters.requests.items() if histogram.count}

    def in_data_root(self, peer: Peer, function: Callable[..., Any], *args: object) -> Awaitable[Any]:
        return self.in_binaries(peer, function, *args)

    def in_binaries(self, peer: Peer, function: Callable[..., Any], *args: object) -> Awaitable[Any]:
        async def call() -> Any:
            if self.disk_hangs:
                raise TimeoutError
            if peer.uid == self.crowded:
                raise TooManyWaiting(peer.uid, 256)
            return function(*args)

        return call()

    async def ask(self, target: str, method: str = "GET", uid: int = 0) -> tuple[int, Any]:
        """Return status and decoded body."""
        answer = await self.response(target, method, uid)
        return answer.status, json.loads(answer.body)

    async def response(self, target: str, method: str = "GET", uid: int = 0) -> Response:
        answer = self.routes(Request(method, parse_target(target.encode()), Peer(1, uid, uid)))
        assert not isinstance(answer, Stream)
        response = await whole(answer if isinstance(answer, Response) else await answer)
        headers = dict(response.headers)
        path = target.partition("?")[0]
        if docker_label(parse_target(path.encode()).segments) is not None:
            return response  # Docker describes those
        self.seen.add(check_answer(method, path, response.status, response.content_type, headers, response.body))
        return response


@pytest.fixture
def node() -> FakeService:
    return FakeService()


async def test_a_resolution_has_the_shape_that_clients_rely_on(node: FakeService) -> None:
    node.binaries["containerd-shim-kata-v2"] = "/usr/bin/containerd-shim-kata-v2"
    status, body = await node.ask("/v1/resolve?runtime=kata")
    assert status == 200
    assert list(body) == ["runtime", "source", "shim", "options", "generation", "digest"]
    assert list(body["options"]) == ["type_url", "value", "fields"]
    assert (body["runtime"], body["generation"]) == ("kata", 5)


@pytest.mark.parametrize("target", ["/v1/resolve", "/v1/resolve?runtime="])
async def test_no_name_or_an_empty_one_means_the_default(node: FakeService, target: str) -> None:
    assert (await node.ask(target))[1]["runtime"] == "crun"


async def test_a_percent_encoded_name_may_contain_any_character(node: FakeService) -> None:
    assert (await node.ask(f"/v1/resolve?runtime={quote('a/b ü', safe='')}"))[1]["runtime"] == "a/b ü"
    assert (await node.ask(f"/v1/runtimes/{quote('a/b ü', safe='')}"))[1]["name"] == "a/b ü"


async def test_responses_come_from_a_new_generation_at_once(node: FakeService) -> None:
    first = (await node.ask("/v1/resolve?runtime=crun"))[1]
    node.generation = build(TABLE, number=6)
    second = (await node.ask("/v1/resolve?runtime=crun"))[1]
    assert (first["generation"], second["generation"]) == (5, 6)
    assert first["digest"] == second["digest"]
    node.generation = build({}, number=7)
    assert (await node.ask("/v1/resolve?runtime=crun"))[0] == 400


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("gvisr", "unknown-runtime", "did you mean gvisor?"),
        ("zzz", "unknown-runtime", "known are a/b ü, crun, gvisor"),
        ("x/y", "invalid-runtime-name", "must be a shim name such as io.containerd.kata.v2"),
        ("a.b --privileged", "invalid-runtime-name", "unknown or invalid runtime name: a.b --privileged"),
    ],
)
async def test_a_bad_name_is_a_400_of_resolve_and_a_404_of_runtimes(
    node: FakeService, name: str, code: str, words: str
) -> None:
    for target, expected in (
        (f"/v1/resolve?runtime={quote(name)}", 400),
        (f"/v1/runtimes/{quote(name, safe='')}", 404),
    ):
        status, body = await node.ask(target)
        assert (status, body["status"], body["code"]) == (expected, expected, code)
        assert words in body["detail"]
        assert "gvisor" in body["known"]


async def test_an_error_lists_at_most_fifty_names(node: FakeService) -> None:
    node.generation = build({"runtimes": {f"r{number}": {"path": "/x"} for number in range(1000)}})
    _, body = await node.ask("/v1/resolve?runtime=q")
    assert (len(body["known"]), body["known_total"]) == (50, 1002)


async def test_a_wrapped_runtime_whose_binary_is_gone_is_a_503_until_it_is_back(node: FakeService) -> None:
    assert (await node.ask("/v1/resolve?runtime=gvisor"))[0] == 200
    del node.binaries["runsc"]
    status, body = await node.ask("/v1/resolve?runtime=gvisor")
    assert (status, body["code"], body["path"]) == (503, "runtime-unavailable", "runsc")
    assert "error while looking up the specified runtime path" in body["detail"]
    node.binaries["runsc"] = "/opt/runsc"
    assert (await node.ask("/v1/resolve?runtime=gvisor"))[0] == 200


async def test_a_runtime_is_described_with_origin_definition_and_wrapper(node: FakeService) -> None:
    status, body = await node.ask("/v1/runtimes/gvisor")
    assert status == 200
    assert body["definition"] == {"path": "runsc", "runtimeArgs": ["--x"]}
    assert body["origin"] == {"file": "/etc/d.json", "line": 6, "fields": {"path": 7, "runtimeArgs": 8}}
    assert body["wrapper"]["path"].startswith("/data/wrappers/gvisor-")
    assert body["wrapper"]["stable_path"] == "/data/runtimes/gvisor"
    assert body["wrapper"]["text"].endswith('exec runsc --x "$@"\n')
    assert (body["available"], body["binary"], body["reason"]) == (True, "/usr/bin/runsc", None)


async def test_an_unavailable_runtime_is_described_with_the_reason(node: FakeService) -> None:
    _, body = await node.ask("/v1/runtimes/kata")
    assert body["available"] is False
    assert "containerd-shim-kata-v2: executable file not found" in body["reason"]


async def test_an_implicit_name_is_described_as_implicit(node: FakeService) -> None:
    _, body = await node.ask("/v1/runtimes/io.containerd.wasm.v1")
    assert (body["source"], body["definition"], body["origin"]) == ("implicit", None, None)
    assert "containerd-shim-wasm-v1" in body["reason"]


async def test_the_table_lists_every_runtime_and_marks_the_default(node: FakeService) -> None:
    status, body = await node.ask("/v1/runtimes")
    assert status == 200
    assert [r["name"] for r in body["runtimes"]] == sorted([*TABLE["runtimes"], "runc", "io.containerd.runc.v2"])
    assert [r["name"] for r in body["runtimes"] if r["default"]] == ["crun"]
    stock = next(r for r in body["runtimes"] if r["name"] == "runc")
    assert (stock["source"], stock["binary"]) == ("stock", "/usr/sbin/runc")


@pytest.mark.parametrize(("outcome", "status"), [("applied", 200), ("unchanged", 200), ("rejected", 422)])
async def test_a_reload_responds_with_its_report(node: FakeService, outcome: Any, status: int) -> None:
    node.report = Report(outcome, 5, "api", problems=(Problem("bad", "/f", 3),) if outcome == "rejected" else ())
    assert await node.ask("/v1/reload", "POST") == (status, node.report.as_dict())
    assert node.asked == [(0, False)]


async def test_a_dry_run_is_requested_in_the_query(node: FakeService) -> None:
    await node.ask("/v1/reload?dry_run=true", "POST")
    assert node.asked == [(0, True)]
    assert (await node.ask("/v1/reload?dry_run=yes", "POST"))[0] == 400


async def test_collection_responds_with_a_verdict_on_each_wrapper(node: FakeService) -> None:
    status, body = await node.ask("/v1/gc?dry_run=true", "POST")
    assert status == 200
    assert body == {"dry_run": True, "collected": 0, "kept": 0, "unknown": ["a doubt"], "wrappers": []}
    assert node.asked == [(0, True)]


@pytest.mark.parametrize(
    "target",
    ["/v1/reload", "/v1/reload?dry_run=true", "/v1/gc", "/v1/gc?dry_run=true", "/v1/engines/docker?state=follows"],
)
async def test_a_client_without_privileges_may_not_change_anything(node: FakeService, target: str) -> None:
    status, body = await node.ask(target, "POST", uid=1000)
    assert (status, body["code"]) == (403, "forbidden")
    assert node.asked == []
    assert node.engines == []


async def test_the_verification_of_an_engine_is_recorded(node: FakeService) -> None:
    follows = await node.ask("/v1/engines/docker?state=follows", "POST")
    detail = quote("é" * 1000)
    differs = await node.ask(f"/v1/engines/containerd?state=differs&detail={detail}", "POST")
    assert [follows, differs] == [(200, each) for each in node.engines]
    assert [each["detail"] for each in node.engines] == ["", "é" * 1000]
    metrics = (await node.response("/metrics")).body.decode()
    for line in ('follows{engine="docker"} 1.0', 'follows{engine="containerd"} 0.0'):
        assert f"runtimed_engine_{line}\n" in metrics
    assert 'runtimed_engine_verified_timestamp_seconds{engine="docker"} 1.5\n' in metrics


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("Docker?state=follows", 404, "unknown engine: Docker; known are docker, "),
        ("%1b?state=follows", 404, r'"\u001b"'),
        ("docker", 400, "state is None; expected one of follows, differs, not-told, not-running, unknown"),
        ("docker?state=", 400, "state is ''"),
        ("docker?state=FOLLOWS", 400, "state is 'FOLLOWS'"),
        (f"docker?state=follows&detail={'x' * 1001}", 400, "detail has 1001 characters; it may have 1000"),
    ],
)
async def test_no_other_verification_is_recorded(node: FakeService, target: str, status: int, text: str) -> None:
    found, body = await node.ask(f"/v1/engines/{target}", "POST")
    assert found == status
    assert text in body["detail"]
    assert node.engines == []


async def test_healthz_lists_the_faults_of_the_process(node: FakeService) -> None:
    assert await node.ask("/healthz") == (200, {"status": "ok"})
    node.unwell = {"watcher": "dead"}
    status, body = await node.ask("/healthz")
    assert (status, body["ailments"]) == (503, {"watcher": "dead"})


@pytest.mark.parametrize(
    "target", ["/", "/v1", "/v1/", "/v2/resolve", "/v1/resolve/", "/v1/runtimes/", "/v1/runtimes/a/b", "*"]
)
async def test_an_unknown_path_is_a_404_that_lists_the_known_paths(node: FakeService, target: str) -> None:
    status, body = await node.ask(target)
    assert (status, body["code"]) == (404, "no-such-path")
    assert "/v1/runtimes/{name}" in body["detail"]
    assert body["message"] == body["detail"], "Docker's clients show nothing else"


@pytest.mark.parametrize(
    ("target", "method", "allowed"),
    [("/v1/resolve", "POST", "GET, HEAD"), ("/v1/reload", "GET", "POST"), ("/v1/status", "DELETE", "GET, HEAD")],
)
async def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    node: FakeService, target: str, method: str, allowed: str
) -> None:
    answer = await node.response(target, method)
    assert (answer.status, dict(answer.headers)["Allow"]) == (405, allowed)


async def test_head_has_the_status_of_get(node: FakeService) -> None:
    assert (await node.response("/v1/status", "HEAD")).status == 200


async def test_an_unknown_query_key_is_refused(node: FakeService) -> None:
    status, body = await node.ask("/v1/resolve?runtme=kata")
    assert (status, body["code"]) == (400, "bad-query")
    assert "runtme; /v1/resolve takes: digest, generation, runtime" in body["detail"]


async def test_responses_are_counted_by_route_and_status(node: FakeService) -> None:
    for target in ("/v1/resolve", "/v1/resolve?runtime=nix", "/v1/runtimes/crun", "/v1/runtimes/kata", "/nowhere"):
        await node.ask(target)
    node.disk_hangs = True
    await node.ask("/v1/runtimes")
    assert node.counted() == {
        ("/v1/resolve", 200): 1,
        ("/v1/resolve", 400): 1,
        ("/v1/runtimes/{name}", 200): 2,
        ("none", 404): 1,
        ("/v1/runtimes", 503): 1,
    }


async def test_docker_s_paths_are_served_and_have_labels_of_their_own(node: FakeService) -> None:
    for path in ("/version", "/v1.41/version", "/v1.44/info?any=key", "/info", "/v1.44/events?until=1"):
        assert (await node.response(path)).status == 200
    assert (await node.response("/_ping", "HEAD")).body == b"OK"
    assert (await node.response("/v1.50/containers/create", "POST")).status == 501
    assert (await node.response("/v1.50/info", "POST")).status == 405
    assert node.counted() == {
        ("/version", 200): 2,
        ("/info", 200): 2,
        ("/info", 405): 1,
        ("/events", 200): 1,
        ("/_ping", 200): 1,
        ("docker", 501): 1,
    }


async def test_an_exception_in_a_route_is_counted(node: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "status", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await node.ask("/v1/status")
    assert node.counted() == {("/v1/status", 500): 1}


async def test_metrics_are_in_the_format_of_prometheus(node: FakeService) -> None:
    await node.ask("/v1/resolve")
    node.counters.count_reload("applied", "api", 0.004, 1700000000.0)
    node.unwell = {"watcher": "dead"}
    response = await node.response("/metrics")
    assert response.content_type.startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(response.body.decode())}
    found = {(s.name, *sorted(s.labels.items())): s.value for family in families.values() for s in family.samples}
    assert found["runtimed_generation",] == 5
    assert found["runtimed_runtimes", ("state", "missing")] == 1
    assert (found["runtimed_default_runtime_proved",], found["runtimed_proof_required",]) == (0, 1)
    assert found["runtimed_fault", ("subject", "watcher")] == 1
    assert found["runtimed_watcher_mode", ("mode", "inotify")] == 1
    assert found["runtimed_requests_total", ("code", "200"), ("route", "/v1/resolve")] == 1
    assert found["runtimed_reloads_total", ("outcome", "applied"), ("trigger", "api")] == 1
    assert found["runtimed_reload_duration_seconds_bucket", ("le", "0.0025")] == 0
    assert found["runtimed_reload_duration_seconds_bucket", ("le", "0.005")] == 1
    assert found["runtimed_reload_duration_seconds_bucket", ("le", "+Inf")] == 1
    assert found["runtimed_config_last_reload_successful",] == 1
    assert found["runtimed_config_last_reload_success_timestamp_seconds",] == 1700000000.0
    assert found["process_open_fds",] > 0
    for kind, count in {"pinned": 2, "unpinned": 1, "outdated": 1}.items():
        assert found[f"runtimed_{kind}_containers",] == count


async def test_a_label_of_the_metrics_takes_one_value_of_a_fixed_set(node: FakeService) -> None:
    for reason in ("api, signal", "signal, api, file-change", "of-the-future", "api"):
        node.counters.count_reload("unchanged", reason, 0.004, 1700000000.0)
    for target in ("/nowhere", "/v1/runtimes/crun", "/v1/runtimes/gvisor", "/v1.44/nix"):
        await node.response(target)
    response = await node.response("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(response.body.decode())}

    def values(family: str, label: str) -> list[str]:
        return sorted({sample.labels[label] for sample in families[family].samples})

    assert values("runtimed_reloads", "trigger") == ["api", "other", "signal"]
    assert values("runtimed_requests", "route") == ["/v1/resolve", "/v1/runtimes/{name}", "docker", "none"]


async def test_a_subscription_is_a_stream_unless_its_number_is_bad_or_the_limit_reached(
    node: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(target: str) -> object:
        return node.routes(Request("GET", parse_target(target.encode()), Peer(1, 0, 0)))

    assert isinstance(asked("/v1/events"), Stream)
    assert isinstance(asked("/v1/events?since=0"), Stream)
    status, body = await node.ask("/v1/events?since=x")
    assert (status, body["code"]) == (400, "bad-query")
    monkeypatch.setattr(type(node.events.subscribers), "is_full", lambda _subscribers, _uid: True)
    status, body = await node.ask("/v1/events")
    assert (status, body["code"]) == (503, "too-many-subscribers")


async def test_drift_is_shown_with_the_runtime_whose_binary_it_is(node: FakeService) -> None:
    node.drifts = {"/usr/bin/crun": Drift("/usr/bin/crun", "replaced", "/usr/bin/crun")}
    assert (await node.ask("/v1/runtimes/crun"))[1]["drift"]["kind"] == "replaced"
    assert (await node.ask("/v1/runtimes/kata"))[1]["drift"] is None


async def test_containers_with_a_pin_are_listed_with_the_binary_that_they_keep(node: FakeService) -> None:
    assert await node.ask("/v1/containers") == (
        200,
        {
            "generation": 5,
            "containers": [
                {
                    "id": "plain",
                    "root": None,
                    "runtime": "CRUN",
                    "generation": 5,
                    "binary": "/usr/bin/crun",
                    "outdated": False,
                    "bundle": None,
                },
                {
                    "id": "old\udcff",
                    "root": "/run/moby",
                    "runtime": "GVISOR",
                    "generation": 3,
                    "binary": "/usr/bin/runsc",
                    "outdated": True,
                    "bundle": "/b",
                },
            ],
        },
    )


async def test_a_file_system_that_does_not_respond_is_a_503(node: FakeService) -> None:
    node.disk_hangs = True
    for target in ("/v1/runtimes", "/v1/runtimes/crun", "/v1/generations/3", "/v1/resolve?generation=3"):
        status, body = await node.ask(target)
        assert (status, body["code"]) == (503, "disk-timeout")
    assert (await node.ask("/v1/resolve?runtime=crun"))[0] == 200


async def test_a_user_with_too_many_waiting_requests_gets_a_503_and_others_do_not(
    node: FakeService,
) -> None:
    node.crowded = 1000
    for target in ("/v1/runtimes", "/v1/runtimes/crun", "/v1/generations/3", "/v1/resolve?generation=3"):
        status, body = await node.ask(target, uid=1000)
        assert (status, body["code"]) == (503, "too-many-waiting")
        assert (await node.ask(target))[0] == 200


async def test_a_runtime_is_described_with_the_features_of_its_binary_and_lint(node: FakeService) -> None:
    _, crun = await node.ask("/v1/runtimes/crun")
    assert crun["features"] == {
        "status": "known",
        "features": {"ociVersionMin": "1.0.0"},
        "version": None,
        "reason": None,
    }
    assert "replaceable-binary" in [lint["code"] for lint in crun["lint"]]
    assert crun["available"] is True
    assert crun["replaceable"] in next(one["message"] for one in crun["lint"] if one["code"] == "replaceable-binary")
    assert crun["shim_binary"]["wanted"] == "containerd-shim-runc-v2"
    _, gvisor = await node.ask("/v1/runtimes/gvisor")
    assert gvisor["binary_why"] == "the first on PATH, in /usr/bin"
    assert crun["binary_why"] == "absolute path"
    _, kata = await node.ask("/v1/runtimes/kata")
    assert kata["features"] is None, "a shim is never run to ask for features"


async def test_a_resolution_is_rendered_once_for_a_generation(node: FakeService) -> None:
    first = await node.response("/v1/resolve?runtime=crun")
    assert await node.response("/v1/resolve?runtime=crun") is first


async def test_a_pinned_resolution_is_the_same_byte_for_byte(node: FakeService) -> None:
    node.binaries["/gone"] = "/gone"
    for name in ("gvisor", "gone", "runc"):
        then = node.generations[3].runtimes[name].answer.at(3) + b"\n"
        assert (await node.response(f"/v1/resolve?runtime={name}&generation=3")).body == then
    assert (await node.ask("/v1/resolve?runtime=gone"))[0] == 400


async def test_a_pinned_resolution_may_be_of_the_default_or_an_implicit_name(node: FakeService) -> None:
    assert (await node.ask("/v1/resolve?generation=3"))[1]["runtime"] == "runc"
    implicit = (await node.ask("/v1/resolve?runtime=a.b&generation=3"))[1]
    assert (implicit["source"], implicit["generation"]) == ("implicit", 3)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        # unknown in that generation, though known in the current one
        ("runtime=kata&generation=3", 400, "unknown-runtime"),
        ("runtime=a/b.c&generation=3", 400, "invalid-runtime-name"),
        ("runtime=runc&generation=4", 410, "generation-gone"),
        ("runtime=runc&generation=6", 404, "no-such-generation"),
        ("runtime=runc&generation=0", 404, "no-such-generation"),
        ("runtime=runc&generation=x", 400, "bad-query"),
        ("runtime=runc&generation=-1", 400, "bad-query"),
        ("runtime=runc&generation=", 400, "bad-query"),
        ("runtime=runc&digest=sha256:00", 400, "bad-query"),
        ("runtime=gvisor&generation=3&digest=sha256:00", 409, "digest-mismatch"),
    ],
)
async def test_a_bad_pin_is_a_problem_with_the_reason(node: FakeService, query: str, status: int, code: str) -> None:
    found, body = await node.ask(f"/v1/resolve?{query}")
    assert (found, body["code"]) == (status, code)


async def test_a_digest_without_a_generation_names_the_missing_key(node: FakeService) -> None:
    _, body = await node.ask("/v1/resolve?runtime=runc&digest=sha256:00")
    assert body["detail"].startswith("generation is missing; expected the number of a generation")


async def test_a_pin_with_the_right_digest_is_resolved(node: FakeService) -> None:
    digest = node.generations[3].runtimes["gvisor"].answer.digest
    assert (await node.ask(f"/v1/resolve?runtime=gvisor&generation=3&digest={digest}"))[0] == 200


async def test_a_pinned_wrapped_runtime_whose_binary_is_gone_is_a_503(node: FakeService) -> None:
    del node.binaries["runsc"]
    assert (await node.ask("/v1/resolve?runtime=gvisor&generation=3"))[0] == 503


async def test_the_history_has_generations_and_events_by_time(node: FakeService) -> None:
    _, body = await node.ask("/v1/history")
    told = [(entry["time"], entry["type"]) for entry in body["entries"]]
    kinds = ["reload", "health", "drift", "drift", "drift", "gc", "engine", "gap"]
    assert told == [(1.5, "generation"), (1.5, "generation"), *enumerate(kinds, start=2)]
    assert body["entries"][0]["generation"] == 3
    assert body["entries"][2]["trigger"]["actors"] == [{"uid": 0, "pid": 7, "command": "runtimectl reload"}]
    assert body["truncated"] is False
    _, body = await node.ask("/v1/history?since=8.0")
    assert [entry["type"] for entry in body["entries"]] == ["engine", "gap"]


@pytest.mark.parametrize("since", ["", "x", "-1", "1e9", "nan", "1" * 16, "1.", "%D9%A1"])
async def test_a_time_that_is_no_number_of_seconds_is_a_problem(node: FakeService, since: str) -> None:
    status, body = await node.ask(f"/v1/history?since={since}")
    assert (status, body["code"]) == (400, "bad-query")


async def test_the_retained_generations_are_listed_the_newest_first(node: FakeService) -> None:
    _, body = await node.ask("/v1/generations")
    assert [g["generation"] for g in body["generations"]] == [5, 3]
    assert body["generations"][1] == {
        "generation": 3,
        "created": 1.5,
        "digest": node.generations[3].digest,
        "default_runtime": "runc",
        "runtime_count": 4,
        "trigger": None,
        "changes": None,
    }


async def test_a_generation_is_shown_with_its_configuration_and_resolutions(node: FakeService) -> None:
    _, body = await node.ask("/v1/generations/3")
    assert body["config"]["runtimes"] == OLD_TABLE["runtimes"]
    assert body["runtimes"]["gone"] == json.loads(node.generations[3].runtimes["gone"].answer.at(3))
    for number, status in (("4", 410), ("99", 404), ("x", 404), ("9" * 400, 404)):
        assert (await node.ask(f"/v1/generations/{number}"))[0] == status


async def test_the_difference_of_two_generations_has_both_definitions(node: FakeService) -> None:
    _, body = await node.ask("/v1/diff?from=3&to=5")
    assert [change["name"] for change in body["added"]] == ["a/b ü", "crun", "kata"]
    assert [change["name"] for change in body["removed"]] == ["gone"]
    (changed,) = body["changed"]
    assert (changed["from"]["runtimeArgs"], changed["to"]["runtimeArgs"]) == (["--old"], ["--x"])
    assert body["default_runtime"] == {"from": "runc", "to": "crun"}
    assert (await node.ask("/v1/diff?from=3"))[0] == 400
    assert (await node.ask("/v1/diff?from=4&to=5"))[0] == 410
    _, same = await node.ask("/v1/diff?from=5&to=5")
    assert (same["added"], same["changed"], same["removed"], same["default_runtime"]) == ([], [], [], None)
