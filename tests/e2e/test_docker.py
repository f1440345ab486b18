"""Docker's own clients, on a real daemon: what they print, what they complain of, and what they see of a reload.

The clients are the CLI of Debian's docker.io, another one if it stands on PATH, and docker-py. The same calls go to a
real dockerd with the same daemon.json, and both have to mean the same.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import pytest
from e2e.harness.dockerd import RunningDockerd, command_lines, run_docker, running_dockerd
from harness.daemon import RunningDaemon, UnixConnection, new_daemon, wait_until

from runtimed import __version__

TABLE: Mapping[str, Any] = {
    "runtimes": {
        "crun": {"path": "/usr/bin/crun"},
        "gvisor": {"path": "runsc", "runtimeArgs": ["--network=none"]},
    },
    "default-runtime": "crun",
}
# The file that both daemons read. dockerd ignores keys of a runtime that it does not know.
CARRIED = {"engines": {"containerd": {"snapshotter": "devmapper"}, "docker": {"x": [1, {"y": None}]}}}
FILE = {**TABLE, "runtimes": {name: {**entry, **CARRIED} for name, entry in TABLE["runtimes"].items()}}
STOCK = {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}}
LISTED = "crun:/usr/bin/crun gvisor:runsc io.containerd.runc.v2:runc runc:runc"
FEATURES = "org.opencontainers.runtime-spec.features"
CLIS = command_lines()

# dockerd alone may take a while to start on a busy machine.
pytestmark = pytest.mark.timeout(600)
# What has nothing behind its colon in `docker info` of a node without plugins, and headings.
BARE = {"Client", "Server", "Plugins", "Volume", "Network", "Log"}


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    with new_daemon() as daemon:
        daemon.write({**FILE, "runtimed": {"probe": {"timeout": 60}}})
        daemon.start()
        # Asked for in a thread of its own.
        wait_until(lambda: "status" in daemon.get("/info")[1]["Runtimes"]["runc"], "the features of runc")
        yield daemon
        assert daemon.stop() == 0
        assert not [event for event in daemon.log() if event["event"] == "request.failed"]


@pytest.fixture(scope="module")
def dockerd() -> Iterator[RunningDockerd]:
    with running_dockerd(FILE) as dockerd:
        yield dockerd


@pytest.fixture(params=CLIS)
def cli(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=f"unix://{daemon.socket}")
    yield client
    client.close()


def printed(cli: str, daemon: RunningDaemon, *arguments: str) -> str:
    """Return what a CLI prints; it must be content with what it was told."""
    result = run_docker(cli, daemon.socket, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def listened(cli: str, daemon: RunningDaemon, window_s: float) -> str:
    """Return what `docker events` prints that ends after a while; a reload happens while it listens."""
    begun_s = time.time()
    window = "--since", f"{begun_s:.6f}", "--until", f"{begun_s + window_s:.6f}"
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(printed, cli, daemon, "events", "--filter", "type=daemon", *window)
        wait_until(lambda: listening.done() or daemon.status()["events"]["subscribers"], "a listener")
        assert daemon.reload()["outcome"] == "unchanged"
        return listening.result()


def labelled(text: str) -> dict[str, str]:
    """Return what stands behind each label of the server's part of `docker info` or `docker version`."""
    server = text[text.index("Server:") :]
    return dict(re.findall(r"^ *([^:\n]+):[^\S\n]*(.*)$", server, re.MULTILINE))


def without_features(runtimes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {k: v for k, v in entry.items() if k != "status"} for name, entry in runtimes.items()}


class TestCommandLine:
    def test_info_says_what_is_known_and_nothing_that_makes_no_sense(self, daemon: RunningDaemon, cli: str) -> None:
        said = labelled(printed(cli, daemon, "info"))
        assert said["Server Version"] == __version__
        assert set(said["Runtimes"].split()) == {"crun", "gvisor", *STOCK}
        assert said["Default Runtime"] == "crun"
        assert said["Swarm"] == "inactive"
        assert said["ID"] == daemon.get("/info")[1]["ID"]
        assert said["Docker Root Dir"] == str(daemon.data)
        assert {label for label, value in said.items() if not value} <= BARE
        assert "0" not in (said["CPUs"], said["Total Memory"])

    def test_info_shows_the_table_and_what_runc_says_of_itself(self, daemon: RunningDaemon, cli: str) -> None:
        runtimes = json.loads(printed(cli, daemon, "info", "--format", "{{json .Runtimes}}"))
        assert without_features(runtimes) == {**TABLE["runtimes"], **STOCK}
        version = printed(cli, daemon, "version", "--format", "{{.Client.APIVersion}}").strip()
        if tuple(map(int, version.split("."))) >= (1, 44):
            assert "ociVersionMin" in json.loads(runtimes["runc"]["status"][FEATURES])

    def test_version_names_this_server_and_nothing_is_downgraded(self, daemon: RunningDaemon, cli: str) -> None:
        text = printed(cli, daemon, "version")
        assert "downgraded" not in text
        said = labelled(text)
        assert (said["Server"], said["Version"]) == ("runtimed", __version__)
        assert said["OS/Arch"] == printed(cli, daemon, "version", "--format", "{{.Client.Os}}/{{.Client.Arch}}").strip()
        assert {label for label, value in said.items() if not value} == {"Engine"}

    def test_a_reload_is_an_event_while_a_client_listens(self, daemon: RunningDaemon, cli: str) -> None:
        # The second time for a machine that is too busy to start a client in so short a time.
        (line,) = (listened(cli, daemon, 4) or listened(cli, daemon, 60)).splitlines()
        identity = daemon.get("/info")[1]["ID"]
        assert re.fullmatch(rf"\S+ daemon reload {identity} \(default-runtime=crun, .*\)", line)
        assert f"runtimes={LISTED})" in line
        wait_until(lambda: daemon.status()["events"]["subscribers"] == 0, "the listener to be forgotten")

    def test_the_past_is_shown_to_who_asks_for_it_and_what_is_filtered_is_not(
        self, daemon: RunningDaemon, cli: str
    ) -> None:
        daemon.reload()
        window = "--since", "2h", "--until", f"{time.time():.6f}"
        lines = printed(cli, daemon, "events", *window, "--format", "{{json .}}").splitlines()
        assert {json.loads(line)["Action"] for line in lines} == {"reload"}
        assert printed(cli, daemon, "events", *window, "--filter", "type=container") == ""
        assert printed(cli, daemon, "events", *window, "--filter", "event=reload").count("\n") == len(lines)

    @pytest.mark.parametrize("command", ["ps", "run x", "pull x", "images", "system df", "network ls", "swarm init"])
    def test_everything_else_is_refused_with_what_this_socket_is(
        self, daemon: RunningDaemon, cli: str, command: str
    ) -> None:
        result = run_docker(cli, daemon.socket, *command.split())
        assert result.returncode != 0
        assert "Error response from daemon: this is runtimed" in result.stderr
        assert "ask dockerd for /" in result.stderr
        assert "{" not in result.stderr


class TestPython:
    def test_the_sdk_is_content_with_all_that_is_served(
        self, daemon: RunningDaemon, client: docker.DockerClient
    ) -> None:
        assert client.ping() is True
        assert client.version()["Version"] == __version__
        info = client.info()
        assert without_features(info["Runtimes"]) == {**TABLE["runtimes"], **STOCK}
        assert "ociVersionMin" in json.loads(info["Runtimes"]["runc"]["status"][FEATURES])

    @pytest.mark.parametrize("version", ["auto", "1.24", "1.41", "1.44"])
    def test_any_version_of_the_api_is_served(self, daemon: RunningDaemon, version: str) -> None:
        client = docker.APIClient(base_url=f"unix://{daemon.socket}", version=version)
        try:
            assert client.info()["DefaultRuntime"] == "crun"
            assert ("status" in client.info()["Runtimes"]["runc"]) == (version in ("auto", "1.44"))
        finally:
            client.close()

    @pytest.mark.parametrize("filters", [{"type": "daemon"}, {"type": ["daemon"], "event": "reload"}, None])
    def test_a_reload_comes_to_who_listens(
        self, daemon: RunningDaemon, client: docker.DockerClient, filters: dict[str, Any] | None
    ) -> None:
        events = client.events(decode=True, filters=filters)
        daemon.reload()
        event = next(events)
        events.close()
        assert (event["Type"], event["Action"], event["scope"]) == ("daemon", "reload", "local")
        assert event["Actor"]["Attributes"]["runtimes"] == LISTED
        wait_until(lambda: daemon.status()["events"]["subscribers"] == 0, "the listener to be forgotten")

    def test_a_stream_with_an_end_ends(self, daemon: RunningDaemon, client: docker.DockerClient) -> None:
        since = int(time.time())
        daemon.reload()
        events = list(client.events(decode=True, since=since, until=int(time.time()) + 2))
        assert events
        assert {event["Action"] for event in events} == {"reload"}
        assert list(client.events(decode=True, since=1, until=2)) == []

    def test_what_is_not_served_is_an_error_that_says_so(self, client: docker.DockerClient) -> None:
        with pytest.raises(docker.errors.APIError, match="this is runtimed") as caught:
            client.containers.list()
        assert caught.value.status_code == 501
        # One with a body.
        with pytest.raises(docker.errors.APIError, match="ask dockerd for /containers"):
            client.containers.create("x")
        with pytest.raises(docker.errors.APIError, match="ask dockerd for /images"):
            client.images.get("x")


class TestBesideDockerd:
    """The same questions to both."""

    def test_the_sdk_is_told_the_same_of_the_node(
        self, daemon: RunningDaemon, dockerd: RunningDockerd, client: docker.DockerClient
    ) -> None:
        theirs = docker.DockerClient(base_url=f"unix://{dockerd.socket}")
        try:
            versions, infos = (client.version(), theirs.version()), (client.info(), theirs.info())
        finally:
            theirs.close()
        for key in ("Os", "Arch", "KernelVersion"):
            assert versions[0][key] == versions[1][key]
        for key in ("Name", "OSType", "Architecture", "NCPU", "MemTotal", "KernelVersion", "DefaultRuntime"):
            assert infos[0][key] == infos[1][key], key
        for key in ("CgroupDriver", "CgroupVersion", "Debug", "ExperimentalBuild", "LiveRestoreEnabled", "Containers"):
            assert infos[0][key] == infos[1][key], key
        # In a container dockerd says so behind it.
        assert infos[1]["OperatingSystem"].startswith(infos[0]["OperatingSystem"])
        runtimes = without_features(infos[0]["Runtimes"])
        assert runtimes == {name: infos[1]["Runtimes"][name] for name in runtimes}
        assert shapes(*versions) == []
        # Newer ones have left these out.
        assert set(shapes(*infos)) <= {"Expected", "BridgeNfIptables", "BridgeNfIp6tables"}

    @pytest.mark.parametrize("path", ["/_ping", "/v1.41/_ping", "/version", "/info", "/events?until=1"])
    def test_every_header_of_theirs_is_there(self, daemon: RunningDaemon, dockerd: RunningDockerd, path: str) -> None:
        ours, theirs = headers(daemon, path), headers(dockerd, path)
        # Newer ones say who builds; nobody does here.
        assert theirs.keys() - {"Date", "Transfer-Encoding", "Content-Length", "Builder-Version"} <= ours.keys()
        for name in ("Content-Type", "Docker-Experimental", "Ostype"):
            assert ours[name] == theirs[name]

    def test_a_reload_is_told_alike_and_filters_let_the_same_by(
        self, daemon: RunningDaemon, dockerd: RunningDockerd
    ) -> None:
        since = time.time()
        daemon.reload()
        dockerd.hang_up()
        wait_until(lambda: events(dockerd, since), "dockerd to reload")
        (ours, *_), (theirs,) = events(daemon, since), events(dockerd, since)
        assert shapes(ours, theirs) == ["generation", "outcome"], "ours besides"
        assert (ours["Type"], ours["Action"], ours["scope"]) == (theirs["Type"], theirs["Action"], theirs["scope"])
        attributes, real = ours["Actor"]["Attributes"], theirs["Actor"]["Attributes"]
        assert (attributes["name"], attributes["default-runtime"]) == (real["name"], real["default-runtime"])
        assert set(real["runtimes"].split()) <= set(attributes["runtimes"].split())
        name, identities = attributes["name"], (ours["Actor"]["ID"], theirs["Actor"]["ID"])
        filters: list[dict[str, Any]] = [
            {},
            *({"type": value} for value in (["daemon"], {"daemon": True}, {"daemon": False}, ["image"], [], {})),
            *({"event": value} for value in (["reload"], ["relo"], ["reload", "x"])),
            *({"scope": value} for value in (["local"], ["swarm"])),
            *({"daemon": value} for value in ([name], [name[0]], [f"{name}x"])),
            *({"label": value} for value in (["runtimes"], ["default-runtime=crun"], ["name", "x"], ["name=x"])),
            *({key: ["zz"]} for key in ("container", "image", "volume", "network", "plugin", "unknown")),
            {"type": ["daemon"], "event": ["reload"], "container": ["zz"]},
        ]
        for one in filters:
            counts = [bool(events(server, since, json.dumps(one))) for server in (daemon, dockerd)]
            assert counts[0] == counts[1], one
        by_id = [bool(events(daemon, since, json.dumps({"daemon": [identity[:9]]}))) for identity in identities]
        assert by_id == [True, False]

    @pytest.mark.parametrize(
        "query", ["since=x", "until=x", "since=1.&until=1", "filters=x", "filters=[]", "until=10m"]
    )
    def test_what_dockerd_cannot_read_is_an_error_here_too(
        self, daemon: RunningDaemon, dockerd: RunningDockerd, query: str
    ) -> None:
        answers = [ask(server, f"/v1.41/events?{query}") for server in (daemon, dockerd)]
        assert [status >= 400 for status, _ in answers] == [True, True]
        assert [list(json.loads(body)) for _, body in answers] == [["message"], ["message"]]

    def test_the_command_line_prints_no_label_that_is_not_dockerd_s(
        self, daemon: RunningDaemon, dockerd: RunningDockerd, cli: str
    ) -> None:
        for command in ("info", "version"):
            ours, theirs = (
                labelled(run_docker(cli, server.socket, command).stdout).keys() for server in (daemon, dockerd)
            )
            assert ours <= theirs


def shapes(ours: Any, theirs: Any) -> list[str]:
    """Return the keys of ``ours`` that dockerd has not; what both have must be of the same type, all the way down."""
    more: list[str] = []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                more += shapes(value, theirs[key])
            elif key not in ("status", "Server"):
                more.append(key)
    elif theirs is not None and not (isinstance(ours, list) and not ours):
        assert type(ours) is type(theirs), (ours, theirs)
    return more


def ask(server: RunningDaemon | RunningDockerd, path: str) -> tuple[int, bytes]:
    connection = UnixConnection(str(server.socket))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def headers(server: RunningDaemon | RunningDockerd, path: str) -> dict[str, str]:
    connection = UnixConnection(str(server.socket))
    try:
        connection.request("GET", path)
        return dict(connection.getresponse().getheaders())
    finally:
        connection.close()


def events(server: RunningDaemon | RunningDockerd, since: float, filters: str = "") -> list[dict[str, Any]]:
    """Return what a server tells of the time since then."""
    quoted = filters.replace('"', "%22").replace(" ", "")
    status, body = ask(server, f"/v1.41/events?since={since:.6f}&until={time.time():.6f}&filters={quoted}")
    assert status == 200, body
    return [json.loads(line) for line in body.splitlines()]
