"""A runtime is tested through real containerds, 1.6 and 2.1: evidence, plain reasons, and nothing left."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from e2e.harness.containerd import RUNC_OPTIONS, SHIM, RunningContainerd, running_containerd
from e2e.harness.engine_root import NEWER, new_engine_root
from e2e.harness.traces import state_of, traces_of
from harness.daemon import PATIENCE_S, new_daemon, put_executable, wait_until
from harness.runtimectl import runtimectl

from runtimed.client import Client
from runtimed.core import errors
from runtimed.core.config import Engine
from runtimed.core.containerd.options import RUNC, Options, encode_options, make_options
from runtimed.core.proof.bundle import ID
from runtimed.core.proof.engine import Traces
from runtimed.core.proof.evidence import Evidence
from runtimed.host.proof.bundle import abandoned_bundles, inspect_node, new_bundle, remove_bundle
from runtimed.host.proof.leftovers import list_leftovers, remove_all
from runtimed.host.proof.runner import Conditions, run_test
from runtimed.host.proof.tasks import Tasks

pytestmark = pytest.mark.timeout(300)

VERSIONS = {"1.6": None, "2.1": NEWER}
DEMO = "io.containerd.demo.v1"
GENERIC_OPTIONS = "runtimeoptions.v1.Options"


@dataclass
class Node:
    """A containerd with containers in production, and the state that each test must leave."""

    version: str
    containerd: RunningContainerd
    production: list[tuple[str, str]] = field(default_factory=list)
    before: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def bundles(self) -> Path:
        return self.containerd.root / "bundles"

    def options(self, **fields: str) -> Options:
        return make_options(RUNC, {"root": str(self.containerd.root / "r"), **fields})

    def shim(self, name: str, text: str) -> str:
        """Write a shim of this name on containerd's PATH, and return the runtime's name."""
        put_executable(self.containerd.programs / f"containerd-shim-{name}-v1", text)
        return f"io.containerd.{name}.v1"

    def program(self, name: str, text: str) -> str:
        return str(put_executable(self.containerd.root / name, text))

    def test(
        self, shim: str, options: Options | None = None, timeout_s: float = PATIENCE_S, stopped: Event | None = None
    ) -> Evidence:
        """Return the evidence of a test through this containerd."""
        resolution, runtime = resolve(shim, options)
        conditions = Conditions("containerd", timeout_s, "", [self.containerd.engine], str(self.bundles))
        return run_test(runtime, resolution, conditions, stopped or Event())

    def assert_nothing_left(self, identifier: str) -> None:
        # A shim that has said goodbye is a process for another moment.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not traces_of(identifier) and not self.differences(), "an end of what was used")
        assert traces_of(identifier) == []
        assert self.differences() == {}

    def differences(self) -> dict[str, set[str]]:
        """Return what the containerd has now and had not before, and the other way round, by kind."""
        after = state_of(self.containerd)
        found = {key: set(after[key]) ^ set(self.before[key]) for key in after}
        return {key: names for key, names in found.items() if names}


def resolve(shim: str, options: Options | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the bodies of GET /v1/resolve and GET /v1/runtimes/{name} that a test needs."""
    value = None
    if options is not None:
        encoded = base64.b64encode(encode_options(options)).decode()
        value = {"type_url": options.type_url, "value": encoded, "fields": options.readable()}
    binary = options.binary_name or None if options else None
    body = {"shim": shim, "options": value, "generation": 1, "digest": "sha256:0"}
    runtime = {**body, "name": "tested", "stable_path": None, "binary": binary, "available": True, "reason": None}
    runtime["definition"] = None
    return body, runtime


@pytest.fixture(scope="module", params=VERSIONS)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with ExitStack() as stack:
        newer = VERSIONS[request.param]
        enter = () if newer is None else stack.enter_context(new_engine_root(newer)).enter
        containerd = stack.enter_context(running_containerd(enter))
        containerd.programs.mkdir()
        (containerd.root / "bundles").mkdir()
        assert f"{request.param}." in containerd.ctr("version").partition("Server:")[2]
        made = Node(request.param, containerd)
        value = encode_options(made.options(binary_name="runc"))
        for namespace in ("default", "moby", "k8s.io"):
            made.production.append((namespace, containerd.run(RUNC_OPTIONS, value, namespace=namespace)))
        made.before = state_of(containerd)
        yield made
        for namespace, container in made.production:
            containerd.exec(container, "/bin/true", namespace=namespace)


def runtimes(node: Node) -> dict[str, tuple[str, Options | None]]:
    gvisor = node.program("gvisor", '#!/bin/sh\nexec runsc --network=none --ignore-cgroups "$@"\n')
    wrapped = node.program("wrapped", '#!/bin/sh\nexec runc --debug "$@"\n')
    demo = node.containerd.programs / "containerd-shim-demo-v1"
    if not demo.exists():
        inside = Path("/usr/bin/containerd-shim-runc-v2")
        shutil.copy(inside if VERSIONS[node.version] is None else NEWER / inside.relative_to("/"), demo)
    return {
        "runc": (SHIM, node.options()),
        "crun": (SHIM, node.options(binary_name="/usr/bin/crun")),
        "wrapped": (SHIM, node.options(binary_name=wrapped)),
        "gvisor": (SHIM, node.options(binary_name=gvisor)),
        "another shim": (DEMO, None),
        "a shim by its path": (str(demo), None),
    }


@pytest.mark.parametrize("name", ["runc", "crun", "wrapped", "gvisor", "another shim", "a shim by its path"])
def test_a_runtime_that_works_passes_and_leaves_nothing(node: Node, name: str) -> None:
    evidence = node.test(*runtimes(node)[name])
    assert (evidence["failure"], evidence["leftovers"]) == (None, [])
    assert evidence["outcome"] == "passed"
    assert (evidence["engine"], evidence["exit_status"]) == ("containerd", 42)
    assert list(evidence["milliseconds"]) == ["create", "start", "wait", "delete"]
    same = evidence["kernel"]["release"] == os.uname().release
    assert same == (name != "gvisor")
    assert evidence["leftovers"] == evidence["remaining"] == []
    assert evidence["id"] is not None
    node.assert_nothing_left(evidence["id"])


@pytest.mark.parametrize("shim", ["io.containerd.runc.v1", "io.containerd.runtime.v1.linux"])
def test_the_earlier_shims_pass_with_containerd_1_and_are_missed_with_containerd_2(node: Node, shim: str) -> None:
    evidence = node.test(shim)
    expected = "passed" if node.version == "1.6" else "failed"
    assert (evidence["outcome"], evidence["leftovers"]) == (expected, [])
    if evidence["failure"] is not None:
        assert "containerd finds no shim containerd-shim-" in evidence["failure"]["reason"]
    node.assert_nothing_left(str(evidence["id"]))


def wrap(case: str) -> str:
    """Return a script that runs runc, and something else for a verb. It knows the arguments of an OCI runtime."""
    find = "\n".join(
        f"{name}=$(echo \"$*\" | sed -n 's/.*--{name} \\([^ ]*\\).*/\\1/p')" for name in ("bundle", "root")
    )
    return f'#!/bin/sh\n{find}\nfor id do :; done\ncase " $* " in\n{case}\nesac\nexec runc "$@"\n'


EDIT = "sed -i 's/exit 42/{}/' $bundle/config.json"
MOUNT = "mkdir -p $root/$id.mnt && mount -t tmpfs none $root/$id.mnt"
DYING = """\
#!/bin/sh
case "$*" in
*start)
  address=$(containerd-shim-runc-v2 "$@")
  for file in $(grep -lsa "${PWD##*/}" /proc/[0-9]*/cmdline); do
    pid=${file#/proc/} && pid=${pid%/*}
    [ "$pid" = $$ ] || kill -9 "$pid" 2>/dev/null
  done
  printf %s "$address" ;;
*) exec containerd-shim-runc-v2 "$@" ;;
esac
"""
PAGE = "<!DOCTYPE html><title>404 Not Found</title>"
Make = Callable[[Node], tuple[str, Options | None]]


def by_runc(name: str, text: str) -> Make:
    return lambda node: (SHIM, node.options(binary_name=node.program(name, text)))


def by_shim(name: str, text: str) -> Make:
    return lambda node: (node.shim(name, text), None)


# Name -> the runtime, the step, and words of the reason.
FAILURES: Mapping[str, tuple[Make, str, str]] = {
    "no shim": (
        lambda _: ("io.containerd.missing.v1", None),
        "create",
        "containerd finds no shim containerd-shim-missing-v1; install it in a directory of containerd's PATH",
    ),
    "no shim at a path": (lambda _: ("/nonexistent/containerd-shim-x-v1", None), "create", "containerd finds no shim"),
    "a shim that hangs": (
        by_shim("hang", "#!/bin/sh\nexec sleep 1000\n"),
        "create",
        "the shim io.containerd.hang.v1 did not respond within 5 s",
    ),
    "a shim that fails": (
        by_shim("fail", "#!/bin/sh\nexit 3\n"),
        "create",
        "the shim io.containerd.fail.v1 ended with exit status 3 and no message",
    ),
    "a shim that dies in create": (by_shim("dying", DYING), "create", "the shim io.containerd.dying.v1 ended"),
    "a shim that dies in start": (
        by_runc("killer-of-shims", wrap("*' start '*) kill -9 $PPID; exec sleep 1000 ;;")),
        "start",
        f"the shim {SHIM} ended before it responded",
    ),
    "a runtime that hangs in create": (
        by_runc("hang", wrap("*' create '*) exec sleep 1000 ;;")),
        "create",
        f"the shim {SHIM} did not respond within 5 s",
    ),
    "a runtime that fails in start": (
        by_runc("no-start", wrap("*' start '*) exit 4 ;;")),
        "start",
        "did not terminate successfully: exit status 4",
    ),
    "a runtime that does nothing": (by_runc("true", "#!/bin/sh\n"), "create", "it wrote no process id"),
    "a web page": (by_runc("page", PAGE), "create", "like a saved web page"),
    "a container that does not end": (
        by_runc("endless", wrap(f"*' create '*) {EDIT.format('while :; do :; done')} ;;")),
        "wait",
        "the container's process did not end within 8 s",
    ),
    "a container that ends with another status": (
        by_runc("other", wrap(f"*' create '*) {EDIT.format('exit 7')} ;;")),
        "evidence",
        "exit status",
    ),
    "a runtime that leaves a mount": (
        by_runc("mounting", wrap(f"*' delete '*) {MOUNT}; exec runc \"$@\" ;;")),
        "leftovers",
        "left the mount ",
    ),
    "a runtime that leaves everything": (by_runc("leaving", wrap("*' delete '*) exit 0 ;;")), "leftovers", "left"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_runtime_that_does_not_work_has_a_plain_reason_and_leaves_nothing(node: Node, name: str) -> None:
    make, step, words = FAILURES[name]
    # As long as the words say: a step that should succeed may take a while on a busy machine.
    within = re.search(r"within (\d) s", words)
    evidence = node.test(*make(node), timeout_s=float(within[1]) if within else PATIENCE_S)
    failure = evidence["failure"]
    assert failure is not None
    assert (failure["step"], words in failure["reason"]) == (step, True), failure
    assert evidence["remaining"] == []
    assert evidence["id"] is not None
    node.assert_nothing_left(evidence["id"])


def test_the_options_reach_containerd_exactly_as_they_are_resolved(node: Node) -> None:
    # With a field that no table here has: an unknown field must survive.
    value = encode_options(node.options(binary_name="/usr/bin/crun")) + b"\xa2\x06\x02xy"
    with new_bundle(inspect_node(), systemd_cgroup=False) as bundle:
        address = node.containerd.address
        tasks = Tasks(bundle, SHIM, (RUNC_OPTIONS, value), address, PATIENCE_S, Event())
        tasks.create()
        found = node.containerd.containers_info(bundle.id, namespace=bundle.id)["Runtime"]
        assert found["Name"] == SHIM
        assert found["Options"] == {"type_url": RUNC_OPTIONS, "value": base64.b64encode(value).decode()}
        assert node.containerd.status(bundle.id, namespace=bundle.id) == "CREATED"
        tasks.abort()
        assert remove_all(traces(node, bundle.id, bundle.path)) == []
    node.assert_nothing_left(bundle.id)


def traces(node: Node, identifier: str, bundle: str) -> Traces:
    root = node.containerd.root
    engine = node.containerd.engine
    return Traces(identifier, bundle, f"{root}/r/{identifier}", "", engine.address, engine.state, str(engine.root))


def test_an_interrupted_test_leaves_nothing(node: Node) -> None:
    make, *_ = FAILURES["a container that does not end"]
    stopped = Event()
    timer = threading.Timer(0.5, stopped.set)
    timer.start()
    with pytest.raises(errors.TestInterrupted):
        node.test(*make(node), stopped=stopped)
    wait_until(lambda: not node.differences(), "an end of what was used")


KILLED = """\
import sys, threading
from runtimed.core.containerd.options import RUNC, make_options
from runtimed.core.config import Engine
from e2e.test_proof_containerd import resolve
from runtimed.host.proof.runner import Conditions, run_test
binary, states, address, state, root, bundles = sys.argv[1:]
resolution, runtime = resolve("io.containerd.runc.v2", make_options(RUNC, {"binary_name": binary, "root": states}))
conditions = Conditions("containerd", 60, "", [Engine(address, state, root)], bundles)
run_test(runtime, resolution, conditions, threading.Event())
"""


def test_a_later_run_removes_what_a_killed_one_has_left(node: Node) -> None:
    containerd, engine = node.containerd, node.containerd.engine
    directory = str(node.bundles)
    binary = node.program("endless", wrap(f"*' create '*) {EDIT.format('while :; do :; done')} ;;"))
    words = (binary, str(containerd.root / "r"), engine.address, engine.state, str(engine.root), directory)
    tests = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", KILLED, *words], env={**os.environ, "PYTHONPATH": str(tests)}) as run:
        (name,) = wait_until(lambda: os.listdir(directory), "a bundle")
        containerd.wait_for_status(name, "RUNNING", namespace=name)
        assert list(abandoned_bundles(directory)) == []
        run.kill()
        run.wait()
    (identifier,) = os.listdir(directory)
    left = {each["kind"] for each in list_leftovers(traces(node, identifier, f"{directory}/{identifier}"))}
    assert left >= {"process", "task", "container", "cgroup", "state", "mount"}
    (found,) = abandoned_bundles(directory)
    assert remove_all(found) == []
    assert remove_bundle(found.bundle)
    node.assert_nothing_left(identifier)


def test_a_containerd_that_ends_in_the_middle_is_the_reason_and_is_cleaned_up_when_it_runs_again(node: Node) -> None:
    containerd = node.containerd
    assert containerd.process is not None
    binary = node.program("killer", wrap(f"*' start '*) kill -9 {containerd.process.pid}; sleep 0.2 ;;"))
    evidence = node.test(SHIM, node.options(binary_name=binary))
    containerd.stop()
    assert evidence["failure"] is not None
    assert f"containerd at {containerd.address} is not running, or it has ended" in evidence["failure"]["reason"]
    identifier = str(evidence["id"])
    unknown = f"{identifier}: unknown, because containerd at {containerd.address} does not answer"
    assert {"kind": "container", "name": unknown} in evidence["remaining"]
    # A socket without a server: no test begins, so nothing is left.
    again = node.test(SHIM, node.options())
    assert again["failure"] is not None
    assert again["failure"]["step"] == "create"
    assert again["leftovers"] == again["remaining"] == []
    containerd.start()
    (found,) = abandoned_bundles(str(node.bundles))
    assert remove_all(found) == []
    assert remove_bundle(found.bundle)
    node.assert_nothing_left(identifier)
    node.assert_nothing_left(str(again["id"]))


def test_without_containerd_the_reason_is_plain_and_nothing_is_left(tmp_path: Path) -> None:
    resolution, runtime = resolve(SHIM, None)
    conditions = Conditions("containerd", 2, "", [Engine(str(tmp_path / "c.sock"), str(tmp_path))])
    evidence = run_test(runtime, resolution, conditions, Event())
    reason = f"containerd at {tmp_path}/c.sock: its socket does not exist, so it is not running"
    assert evidence["failure"] == {"step": "create", "reason": reason}
    assert evidence["leftovers"] == evidence["remaining"] == []
    assert traces_of(str(evidence["id"])) == []


def test_the_verb_tests_shims_and_records_the_proof_and_removes_what_a_test_before_the_boot_left(node: Node) -> None:
    containerd, engine = node.containerd, node.containerd.engine
    runtimes(node)
    entry = {"address": engine.address, "state": engine.state, "root": str(engine.root)}
    # A container without a bundle.
    old = f"runtimed-test-{uuid.uuid4().hex[:12]}"
    containerd.create_container(old, "", b"", namespace=old)
    with new_daemon() as daemon:
        daemon.environ["PATH"] = f"{containerd.programs}:{daemon.environ['PATH']}"
        options = {"BinaryName": "/usr/bin/crun", "Root": str(containerd.root / "r")}
        table = {"demo": {"runtimeType": DEMO}, "crun": {"runtimeType": SHIM, "options": options}}
        daemon.write({"runtimed": {"containerd": [entry]}, "runtimes": table})
        daemon.start()
        run = runtimectl("test", "demo", "--json", on=daemon)
        assert run.stderr == f"note: removed the container of the killed test {old}\n"
        assert run.returncode == 0, run
        (evidence,) = json.loads(run.stdout)["tests"]
        assert (evidence["engine"], evidence["outcome"], evidence["proof"]) == ("containerd", "passed", "proved")
        shown = runtimectl("test", "crun", "--engine", "containerd", on=daemon)
        assert (shown.returncode, shown.stderr) == (0, "")
        found = Client(str(daemon.socket)).explain("crun")["proof"]
        assert (found["state"], found["engine"]) == ("proved", "containerd")
    for identifier in (old, evidence["id"], *ID.findall(shown.stdout)):
        node.assert_nothing_left(identifier)
