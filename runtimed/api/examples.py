"""Makes examples of responses, with the functions that respond, from a small table on an imaginary node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from runtimed import __version__
from runtimed.api.describe import describe_runtime
from runtimed.core import shapes
from runtimed.core.collection.collect import Collection, Verdict
from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, FileStatus, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.containers import ContainersSummary, PinnedContainer, summarise_kept
from runtimed.core.drift import Drift
from runtimed.core.errors import BinaryUnavailable, ConfigurationRejected
from runtimed.core.features import Features
from runtimed.core.history.event_lines import render_event
from runtimed.core.history.manifest import read_manifest, render_manifest
from runtimed.core.history.parts import make_partition, read_part
from runtimed.core.history.retained import (
    RetainedGeneration,
    compare_retained,
    describe_retained,
    read_retained,
    summarise_retained,
)
from runtimed.core.history.timeline import make_timeline
from runtimed.core.history.trigger import Actor, ChangedSource, Trigger
from runtimed.core.proof.record import judge_proof
from runtimed.core.report import Report, shorten
from runtimed.core.table.build import build_generation
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Generation, Host, Runtime, compare_generations

_FILE = "/etc/runtimed/daemon.json"
_NOON_S = 1764158400.0
_SETTINGS = Settings("/var/lib/runtimed", "/run/runtimed", ("unix:///run/runtimed/runtimed.sock",))
_HOST = Host(Facts(cgroup2=True, systemd=True, ramdisk=False), _SETTINGS.data_root, _SETTINGS.exec_root)
_BEFORE = """{
  "runtimes": {
    "gvisor": { "path": "runsc" }
  }
}
"""
_AFTER = """{
  "runtimes": {
    "gvisor": { "path": "runsc", "runtimeArgs": ["--platform=systrap"] },
    "kata": { "runtimeType": "io.containerd.kata.v2", "options": { "ConfigPath": "/etc/kata.toml" } }
  }
}
"""
_WRONG = """{
  "runtimes": {
    "gvisor": { "path": "runsc", "runtimeArgs": "--platform=systrap" }
  }
}
"""
# It was created before the second generation.
_CONTAINER = PinnedContainer(
    "demo",
    "/run/containerd/runc/k8s.io",
    "gvisor",
    "gvisor",
    "/usr/bin/runsc",
    1,
    outdated=True,
    bundle="/run/containerd/io.containerd.runtime.v2.task/k8s.io/demo",
)
_KEPT = summarise_kept([_CONTAINER])
_ENGINE: shapes.EngineStatus = {
    "engine": "containerd",
    "state": "not-told",
    "detail": "containerd has not read its file since it changed: systemctl restart containerd",
    "time": _NOON_S,
}
_PROOF: shapes.Proof = {
    "state": "proved",
    "time": _NOON_S,
    "generation": 2,
    "engine": "direct",
    "outcome": "passed",
    "detail": "",
}
_ACTOR = Actor(0, 4242, "/usr/bin/python3 /usr/bin/runtimectl reload")
_METRICS = """# HELP runtimed_generation Number of the current generation.
# TYPE runtimed_generation gauge
runtimed_generation 2.0
"""


class _Node:
    """The imaginary node, on which every binary can be executed."""

    def look_up_all(self, files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
        return {file: file if "/" in file else f"/usr/bin/{file}" for file in files}

    def replaceable(self, _binary: str) -> str | None:
        return None

    def features(self, _binary: str) -> Features:
        return Features("known", {"ociVersionMin": "1.0.0", "ociVersionMax": "1.2.0"})

    def drift(self, _binary: str) -> Drift | None:
        return None

    def current_proof(self, _runtime: Runtime) -> tuple[str | None, shapes.Proof]:
        return f"sha256:{'b1' * 32}", _PROOF

    last_proof = current_proof


def make_examples() -> Mapping[tuple[str, int], object]:
    """Return an example of every response in JSON or text, by the operation's name and the status."""
    old, new = _build(_BEFORE, 1), _build(_AFTER, 2)
    before, after = _retain(old), _retain(new, old)
    described = describe_runtime(new, new.runtimes["gvisor"], _Node())
    changes = compare_generations(old, new)
    names = changes.added, changes.changed, changes.removed
    report = Report("applied", new.number, "file-change", *names, kept=_KEPT, duration_ms=3.1, time_s=_NOON_S).as_dict()
    return {
        ("resolve", 200): after.manifest.answers["gvisor"],
        ("listRuntimes", 200): {
            "generation": new.number,
            "default_runtime": new.config.default_runtime,
            "runtimes": [described],
        },
        ("describeRuntime", 200): described,
        ("listGenerations", 200): {
            "generations": [summarise_retained(each.manifest).as_dict() for each in (after, before)]
        },
        ("listHistory", 200): _history(before, after),
        ("describeGeneration", 200): describe_retained(before),
        ("compareGenerations", 200): compare_retained(before, after),
        ("listContainers", 200): {"generation": new.number, "containers": [_CONTAINER.as_dict()]},
        ("status", 200): _status(new, report),
        ("reload", 200): report,
        ("reload", 422): _rejection().as_dict(),
        ("collectWrappers", 200): _collection(new),
        ("recordVerification", 200): _ENGINE,
        ("recordProof", 200): {"runtime": "gvisor", **_PROOF},
        ("listen", 200): _events(new),
        ("metrics", 200): _METRICS,
        ("health", 200): {"status": "ok"},
    }


def _build(text: str, number: int) -> Generation:
    documents = Documents(_FILE, Source(_FILE, text.encode()))
    return build_generation(parse_configuration(documents, Flags(), _SETTINGS), _HOST, number)


def _retain(generation: Generation, previous: Generation | None = None) -> RetainedGeneration:
    changed = ChangedSource(_FILE, "changed" if previous else "added", FileStatus(0, _NOON_S - 0.5, 4711))
    trigger = Trigger(("file-change",), sources=(changed,)).as_dict()
    changes = compare_generations(previous, generation).summarise()
    partition, texts = make_partition(generation.runtimes)
    data = render_manifest(generation, partition.digests, {}, _NOON_S, trigger, changes)
    manifest = read_manifest(data, generation.number, lambda digest: read_part(texts[digest], digest))
    return read_retained(manifest, generation.config_text)


def _history(before: RetainedGeneration, after: RetainedGeneration) -> shapes.History:
    """Return the history with the two generations and a rejection after them."""
    rejected = {**_rejection().as_kept()}
    line = render_event("reload", _NOON_S + 60.5, rejected) or b""
    summaries = [summarise_retained(each.manifest) for each in (before, after)]
    return make_timeline(summaries, {before.manifest.number: b"", after.manifest.number: line}.__getitem__, 0)


def _rejection() -> Report:
    try:
        _build(_WRONG, 3)
    except ConfigurationRejected as error:
        trigger = Trigger(("api",), (_ACTOR,))
        return Report("rejected", 2, "api", problems=error.problems, duration_ms=1.2, time_s=_NOON_S, trigger=trigger)
    raise AssertionError("the example of a rejected configuration is valid")


def _collection(generation: Generation) -> shapes.Collection:
    files = [script.file for script in generation.scripts]
    verdicts = [Verdict(file, collect=False, reason=f"generation {generation.number} names it") for file in files]
    return Collection(tuple(verdicts), (), (), dry_run=True).as_dict()


def _status(generation: Generation, report: shapes.Report) -> shapes.Status:
    return {
        "health": {"status": "ok", "reasons": {}},
        "generation": generation.number,
        "digest": generation.digest,
        "default_runtime": generation.config.default_runtime,
        "runtimes": len(generation.runtimes),
        "unavailable": [],
        "unavailable_count": 0,
        "last_reload": shorten(report, 100),
        "configuration": generation.config.path,
        "sources": list(generation.config.sources),
        "data_root": _SETTINGS.data_root,
        "exec_root": _SETTINGS.exec_root,
        "hosts": list(_SETTINGS.hosts),
        "watcher": {"mode": "inotify", "alive": True, "faults": {}},
        "drift": [],
        "drift_count": 0,
        "containers": ContainersSummary(1, 0, _KEPT).as_dict(),
        "engines": [_ENGINE],
        "proofs": {
            "required": False,
            "states": {"proved": 1, "not-proved": len(generation.runtimes) - 1, "outdated": 0},
            "default": judge_proof(None, "", None),
            "remark": None,
        },
        "events": {"seq": int(_NOON_S * 1000) + 4, "subscribers": 1},
        "uptime_s": 86400.5,
        "pid": 4242,
        "version": __version__,
    }


def _events(generation: Generation) -> str:
    """Return the events for a new subscriber, and those of the removal of a binary and of a reload."""
    seq = int(_NOON_S * 1000)
    heartbeat = {"seq": seq, "time": _NOON_S, "type": "heartbeat"}
    drift = {
        "seq": seq + 1,
        "time": _NOON_S + 7.25,
        "type": "drift",
        **Drift("runsc", "removed", reason="executable file not found in PATH").as_dict(),
        "runtimes": ["gvisor"],
        "runtime_count": 1,
    }
    published = {
        "seq": seq + 2,
        "time": _NOON_S + 60.5,
        "type": "generation",
        "generation": generation.number,
        "digest": generation.digest,
        "default_runtime": generation.config.default_runtime,
        "runtime_count": len(generation.runtimes),
    }
    return "".join(json.dumps(event) + "\n" for event in (heartbeat, drift, published))
