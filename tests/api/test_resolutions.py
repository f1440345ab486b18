"""Tests repeated resolutions: each must be the one that a new look-up would give."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.api.counters import Counters
from runtimed.api.messages import Answer, Request, Response, Target, parse_target
from runtimed.api.resolutions import Resolutions
from runtimed.api.sockets import Peer
from runtimed.api.stream import Stream
from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host

PINNED = Response(200, b"pinned")


def build(number: int) -> Generation:
    """Return a generation; ``restless`` differs in each, and only odd ones have ``odd``."""
    runtimes = {
        "steady": {"path": "/bin/steady"},
        "wrapped": {"path": "/bin/wrapped", "runtimeArgs": ["x"]},
        "restless": {"path": f"/bin/{number}"},
        "kata": {"runtimeType": "io.containerd.kata.v2"},
        "typed": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "/bin/typed"}},
    }
    if number % 2:
        runtimes["odd"] = {"path": "/bin/odd"}
    source = Source("/etc/d.json", json.dumps({"runtimes": runtimes, "default-runtime": "steady"}).encode())
    config = parse_configuration(Documents(source.path, source), Flags(), Settings("/data", "/exec", ("unix:///s",)))
    return build_generation(config, Host(Facts(cgroup2=True, systemd=True, ramdisk=False), "/data", "/exec"), number)


class Verdict:
    """A lookup whose verdict the test sets."""

    def __init__(self, node: TableAnswers, files: tuple[str, ...]) -> None:
        self._node = node
        self.files = files
        self.looks = self.renewals = 0
        self.aged_s = float("inf")

    @property
    def renew_s(self) -> float:
        return min(self.aged_s, self.usable_s)

    @property
    def usable_s(self) -> float:
        return float("-inf") if self._missing() or (self.files and not self._node.recent) else float("inf")

    def renew(self) -> None:
        self.renewals += 1

    def error(self, now_s: float) -> BinaryUnavailable | None:
        return self._missing() if self._node.recent else None

    async def wait(self) -> BinaryUnavailable | None:
        self.looks += 1
        return self._missing()

    def _missing(self) -> BinaryUnavailable | None:
        missing = [file for file in self.files if file in self._node.missing]
        return BinaryUnavailable(missing[0], "no such file", missing=True) if missing else None


class TableAnswers:
    """Resolutions, and the parts of the daemon that they use."""

    def __init__(self) -> None:
        self.generation = build(1)
        self.missing: set[str] = set()
        # Whether every verdict is recent enough to be used without a look-up.
        self.recent = True
        self.counters = Counters()
        self.verdicts: list[Verdict] = []
        self.resolutions = Resolutions(lambda: self.generation, self.lookup, lambda _: PINNED, self.counters)

    def lookup(self, files: tuple[str, ...]) -> Verdict:
        self.verdicts.append(Verdict(self, files))
        return self.verdicts[-1]

    def ask(self, raw: str) -> Answer:
        return self.resolutions.answer(Request("GET", target(raw), Peer(1, 2, 3)))

    def again(self, raw: str) -> Response | None:
        return self.resolutions.again(target(raw), 0.0)


def target(raw: str) -> Target:
    return parse_target(f"/v1/resolve{raw}".encode())


@pytest.fixture
def node() -> TableAnswers:
    return TableAnswers()


def test_another_target_gets_no_earlier_response(node: TableAnswers) -> None:
    node.ask("?runtime=steady")
    assert node.again("?runtime=wrapped") is None
    assert node.again("?runtime=stead%79") is None


@pytest.mark.parametrize("raw", ["", "?runtime=", "?runtime=steady", "?runtime=stead%79", "?runtime=wrapped"])
def test_the_same_target_gets_the_same_response_again(node: TableAnswers, raw: str) -> None:
    answer = node.ask(raw)
    assert node.again(raw) is answer
    assert node.again(raw) is answer


@pytest.mark.parametrize("raw", ["?runtime=nix", "?runtime=../x", "?runtime=io.containerd.kata.v2"])
def test_a_name_outside_the_table_is_resolved_each_time(node: TableAnswers, raw: str) -> None:
    node.ask(raw)
    assert node.again(raw) is None


@pytest.mark.parametrize("raw", ["?generation=1", "?runtime=steady&generation=1", "?digest=x"])
def test_pinned_resolutions_come_from_the_archive(node: TableAnswers, raw: str) -> None:
    assert node.ask(raw) is PINNED
    assert node.again(raw) is None


def test_a_new_generation_makes_earlier_responses_invalid(node: TableAnswers) -> None:
    node.ask("?runtime=steady")
    node.generation = build(2)
    assert node.again("?runtime=steady") is None
    node.ask("?runtime=restless")
    assert node.again("?runtime=steady") is None


@pytest.mark.parametrize(
    ("raw", "gone"),
    [
        ("?runtime=steady", "/bin/steady"),
        ("?runtime=wrapped", "/bin/wrapped"),
        ("?runtime=kata", "containerd-shim-kata-v2"),
        ("?runtime=typed", "/bin/typed"),
        ("", "/bin/steady"),
    ],
)
def test_a_file_that_is_gone_is_a_503_until_it_is_back_for_every_kind_of_runtime(
    node: TableAnswers, raw: str, gone: str
) -> None:
    answer = node.ask(raw)
    node.missing.add(gone)
    assert node.again(raw) is None
    refused = node.ask(raw)
    assert isinstance(refused, Response)
    assert (refused.status, json.loads(refused.body)["path"]) == (503, gone)
    node.missing.clear()
    assert node.again(raw) is answer


@pytest.mark.parametrize("raw", ["?runtime=runc", "?runtime=io.containerd.kata.v2"])
def test_stock_and_implicit_runtimes_need_no_file_of_this_node(node: TableAnswers, raw: str) -> None:
    answer = node.ask(raw)
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert node.verdicts[-1].files == ()


async def test_a_response_without_a_recent_verdict_waits_for_a_look_up(node: TableAnswers) -> None:
    node.recent = False
    for missing, status in ((set(), 200), ({"/bin/steady"}, 503)):
        node.missing = missing
        assert node.again("?runtime=steady") is None
        answer = node.ask("?runtime=steady")
        assert not isinstance(answer, (Response, Stream))
        assert (await answer).status == status
    assert node.verdicts[-1].looks == 2


def test_a_response_with_an_ageing_verdict_is_sent_and_renews_it(node: TableAnswers) -> None:
    answer = node.ask("?runtime=steady")
    node.verdicts[-1].aged_s = 5.0
    assert node.resolutions.again(target("?runtime=steady"), 4.9) is answer
    assert node.verdicts[-1].renewals == 0
    assert node.resolutions.again(target("?runtime=steady"), 5.0) is answer
    assert node.verdicts[-1].renewals == 1


def test_kept_responses_are_bounded_for_all_spellings_of_a_name(node: TableAnswers) -> None:
    letters = "abcdefghijklm"
    spellings = [
        "".join(f"%{ord(c):02X}" if number >> place & 1 else c for place, c in enumerate(letters))
        for number in range(2000)
    ]
    node.generation = build(1)
    source = Source("/etc/d.json", json.dumps({"runtimes": {letters: {"path": "/bin/x"}}}).encode())
    config = parse_configuration(Documents(source.path, source), Flags(), Settings("/data", "/exec", ("unix:///s",)))
    node.generation = build_generation(config, node.generation.host, 1)
    for spelling in spellings:
        node.ask(f"?runtime={spelling}")
    assert 0 < sum(node.again(f"?runtime={spelling}") is not None for spelling in spellings) <= 1024


def test_a_repeated_response_is_counted(node: TableAnswers) -> None:
    node.ask("")
    node.again("")
    node.again("")
    assert node.counters.requests_of("/v1/resolve", 200).count == 2


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(["", "steady", "wrapped", "restless", "odd", "nix", "a.b"])),
    st.tuples(st.just("again"), st.sampled_from(["", "steady", "wrapped", "restless", "odd", "nix", "a.b"])),
    st.tuples(st.just("reload"), st.integers(1, 4)),
    st.tuples(st.just("remove"), st.just(None)),
    st.tuples(st.just("install"), st.just(None)),
)


@given(st.lists(STEPS, max_size=40))
def test_a_repeated_response_is_the_one_that_a_new_look_up_gives(steps: list[tuple[str, object]]) -> None:
    node = TableAnswers()
    for step, value in steps:
        match step:
            case "ask":
                node.ask(f"?runtime={value}")
            case "reload":
                node.generation = build(int(str(value)))
            case "remove":
                node.missing.add("/bin/wrapped")
            case "install":
                node.missing.clear()
            case "again" if (again := node.again(f"?runtime={value}")) is not None:
                fresh = TableAnswers()
                fresh.generation, fresh.missing = node.generation, node.missing
                whole = fresh.ask(f"?runtime={value}")
                assert isinstance(whole, Response)
                assert (again.status, again.body, again.headers) == (whole.status, whole.body, whole.headers)
