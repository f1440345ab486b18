"""Renders the metrics for Prometheus. prometheus_client is imported at the first scrape: it costs 75 ms and 14 MB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed import __version__
from runtimed.api.counters import Counters, Histogram

if TYPE_CHECKING:
    from prometheus_client.core import Metric

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


def render_metrics(figures: Figures, counters: Counters) -> bytes:
    """Return the text exposition format (version 0.0.4)."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest  # noqa: PLC0415 - see above

    class Collector:
        def collect(self) -> Iterable[Metric]:
            yield from _gauges(figures)
            yield from _counts(counters)

    registry = CollectorRegistry()
    registry.register(Collector())
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _gauges(figures: Figures) -> Iterable[Metric]:
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily  # noqa: PLC0415 - see above

    def several(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
        family = GaugeMetricFamily(f"runtimed_{name}", text, labels=[label])
        for key, value in values.items():
            family.add_metric([key], value)
        return family

    yield InfoMetricFamily("runtimed_build", "Version of the daemon.", value={"version": __version__})
    for name, text, value in (
        ("generation", "Number of the current generation.", figures.generation),
        ("generations_retained", "Retained generations.", figures.generations),
        ("default_runtime_available", "Whether the default runtime can be executed.", figures.default_available),
        ("degraded", "Whether the daemon is degraded.", bool(figures.faults)),
        ("watcher_up", "Whether all threads of the watcher run.", figures.watcher_alive),
        ("connections", "Open connections.", figures.connections),
        ("subscribers", "Clients that listen to events.", figures.subscribers),
        ("wrappers", "Wrapper files on disk.", figures.wrappers),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"runtimed_{name}", text, value=value)
    yield several("runtimes", "Runtimes of the current generation, by state of the binary.", "state", figures.runtimes)
    yield several("fault", "Why the daemon is degraded.", "subject", dict.fromkeys(figures.faults, 1.0))
    modes = {mode: float(mode == figures.watcher_mode) for mode in WATCHER_MODES}
    yield several("watcher_mode", "How the daemon notices changes of files.", "mode", modes)
    yield several("drift", "Runtimes whose binary changed since the load.", "kind", figures.drift)


def _counts(counters: Counters) -> Iterable[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - see above

    reloads = CounterMetricFamily("runtimed_reloads", "Reloads, without dry runs.", labels=["outcome", "trigger"])
    for key, count in tuple(counters.reloads.items()):
        reloads.add_metric(list(key), count)
    yield reloads
    yield _histogram("runtimed_reload_duration_seconds", "Duration of reloads.", {(): counters.reload_s})
    name, text = (
        "runtimed_reload_last_success_timestamp_seconds",
        "When a reload last succeeded, since the epoch.",
    )
    yield GaugeMetricFamily(name, text, value=counters.last_success_s)
    requests = CounterMetricFamily("runtimed_requests", "Requests.", labels=["route", "code"])
    answered: dict[tuple[str, ...], Histogram] = {
        (route, str(code)): histogram for (route, code), histogram in tuple(counters.requests.items())
    }
    for labels, histogram in answered.items():
        requests.add_metric(labels, histogram.count)
    yield requests
    text = "Time between a request and its response."
    yield _histogram("runtimed_request_duration_seconds", text, answered, ("route", "code"))
    for name, text, value in (
        ("wrappers_collected", "Wrapper files removed.", counters.wrappers_collected),
        ("subscribers_dropped", "Subscribers dropped because they did not read.", counters.subscribers_dropped),
    ):
        yield CounterMetricFamily(f"runtimed_{name}", text, value=value)


def _histogram(
    name: str, text: str, histograms: Mapping[tuple[str, ...], Histogram], labels: tuple[str, ...] = ()
) -> Metric:
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - see above

    family = HistogramMetricFamily(name, text, labels=list(labels))
    for key, histogram in histograms.items():
        below, buckets = 0, []
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts.copy(), strict=True):
            below += count
            buckets.append((bound, float(below)))
        family.add_metric(list(key), buckets, histogram.total)
    return family
