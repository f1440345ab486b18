"""Renders the metrics for Prometheus. prometheus_client is imported at the first scrape: it costs 75 ms and 14 MB."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed import __version__
from runtimed.api.counters import Counters, Histogram
from runtimed.core.containers import ContainersSummary

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from runtimed.core import shapes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WATCHER_MODES = ("inotify", "polling", "off")


@dataclass(frozen=True, slots=True)
class Figures:
    """The state of the daemon at one moment; `Counters` count events."""

    generation: int
    # By state: available, missing, unusable, unknown (not looked up yet).
    runtimes: Mapping[str, int]
    default_available: bool
    # Why the daemon is degraded, by subject.
    faults: Mapping[str, str]
    watcher_mode: str
    watcher_alive: bool
    # Runtimes by kind of drift.
    drift: Mapping[str, int]
    connections: int
    subscribers: int
    # Files on disk, None where they cannot be counted.
    wrappers: int | None
    # Retained generations.
    generations: int
    containers: ContainersSummary
    # Runtimes by state of their proof.
    proofs: Mapping[str, int]
    default_proved: bool
    proof_required: bool
    # The last verification of each engine.
    engines: Sequence[shapes.EngineStatus] = ()


def render_metrics(figures: Figures, counters: Counters) -> bytes:
    """Return the text exposition format (version 0.0.4)."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest  # noqa: PLC0415 - see above

    class Collector:
        def collect(self) -> Iterable[Metric]:
            yield from _state(figures)
            yield from _counts(counters)

    registry = CollectorRegistry()
    registry.register(Collector())
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _state(figures: Figures) -> Iterable[Metric]:
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily  # noqa: PLC0415 - see above

    yield InfoMetricFamily("runtimed_build", "Version of the daemon.", value={"version": __version__})
    for name, text, value in (
        ("generation", "Number of the current generation.", figures.generation),
        ("generations_retained", "Retained generations.", figures.generations),
        ("default_runtime_available", "Whether the default runtime can be executed.", figures.default_available),
        ("default_runtime_proved", "Whether the default runtime is proved.", figures.default_proved),
        ("proof_required", "Whether the default runtime must be proved.", figures.proof_required),
        ("degraded", "Whether the daemon is degraded.", bool(figures.faults)),
        ("watcher_up", "Whether all threads of the watcher run.", figures.watcher_alive),
        ("connections", "Open connections.", figures.connections),
        ("subscribers", "Clients that listen to events.", figures.subscribers),
        ("wrappers", "Wrapper files on disk.", figures.wrappers),
        ("pinned_containers", "Containers with a pin.", figures.containers.pinned),
        ("unpinned_containers", "Containers that use a stable path without a pin.", figures.containers.unpinned),
        ("outdated_containers", "Containers that keep an older definition.", figures.containers.outdated),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"runtimed_{name}", text, value=value)
    modes = {mode: mode == figures.watcher_mode for mode in WATCHER_MODES}
    follows = {each["engine"]: each["state"] == "follows" for each in figures.engines}
    verified = {each["engine"]: each["time"] for each in figures.engines}
    for name, text, label, values in (
        ("runtimes", "Runtimes of the current generation, by state of the binary.", "state", figures.runtimes),
        ("runtimes_proof", "Runtimes of the current generation, by state of the proof.", "state", figures.proofs),
        ("fault", "Why the daemon is degraded.", "subject", dict.fromkeys(figures.faults, 1)),
        ("watcher_mode", "How the daemon notices changes of files.", "mode", modes),
        ("drift", "Runtimes whose binary changed since the load.", "kind", figures.drift),
        ("engine_follows", "Whether an engine had the table when it was last verified.", "engine", follows),
        ("engine_verified_timestamp_seconds", "When an engine was last verified.", "engine", verified),
    ):
        family = GaugeMetricFamily(f"runtimed_{name}", text, labels=[label])
        for key, count in values.items():
            family.add_metric([key], count)
        yield family


def _counts(counters: Counters) -> Iterable[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - see above

    # Copies: the event loop counts on while a thread renders.
    requests: dict[tuple[str, ...], Histogram] = {
        (route, str(code)): each for (route, code), each in tuple(counters.requests.items())
    }
    routes = ("route", "code")
    for name, text, labels, counts in (
        ("reloads", "Reloads, without dry runs.", ("outcome", "trigger"), dict(counters.reloads)),
        ("requests", "Requests.", routes, {key: each.count for key, each in requests.items()}),
        ("wrappers_collected", "Wrapper files removed.", (), {(): counters.wrappers_collected}),
        ("subscribers_dropped", "Subscribers that did not read.", (), {(): counters.subscribers_dropped}),
    ):
        family = CounterMetricFamily(f"runtimed_{name}", text, labels=labels)
        for key, count in counts.items():
            family.add_metric(key, count)
        yield family
    # The names end as those of Prometheus for its own reloads.
    for name, text, value in (
        ("successful", "Whether the last reload of the configuration succeeded.", counters.last_successful),
        ("success_timestamp_seconds", "When a reload last succeeded, since the epoch.", counters.last_success_s),
    ):
        yield GaugeMetricFamily(f"runtimed_config_last_reload_{name}", text, value=value)
    yield _histogram("runtimed_reload_duration_seconds", "Duration of reloads.", (), {(): counters.reload_s})
    yield _histogram("runtimed_request_duration_seconds", "Time to make a response.", routes, requests)


def _histogram(
    name: str, text: str, labels: tuple[str, ...], histograms: Mapping[tuple[str, ...], Histogram]
) -> Metric:
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - see above

    family = HistogramMetricFamily(name, text, labels=labels)
    for key, histogram in histograms.items():
        counts = itertools.accumulate(map(float, histogram.counts.copy()))
        family.add_metric(key, list(zip((*map(str, histogram.bounds), "+Inf"), counts, strict=True)), histogram.total)
    return family
