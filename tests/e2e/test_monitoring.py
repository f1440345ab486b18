"""The metrics of a real daemon in a real Prometheus: both ways there, alerts, dashboard, the file for node-exporter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from e2e.harness.prometheus import MONITORING, RULES, Monitored, new_monitored
from harness.daemon import PATIENCE_S, make_drift, put_executable, wait_until

from runtimed.client import Client

pytestmark = pytest.mark.timeout(600)

# Of the file, and scrapes of it, that are seen while it is replaced.
REPLACEMENTS, SCRAPES = 75, 10
# Panels without a value on a healthy node.
EMPTY = {"Faults"}
# Replaces the file until its standard input ends.
WRITER = """
import select, sys
from runtimed.cli.ctl import main
while not select.select([sys.stdin], [], [], 0)[0]:
    assert main(sys.argv[1:]) == 0
"""


@pytest.fixture(scope="module")
def started() -> Iterator[Monitored]:
    with new_monitored() as found:
        found.daemon.drift_every_s = 0.2
        yield found


@pytest.fixture
def node(started: Monitored) -> Monitored:
    """A daemon that runs, is healthy, and has been scraped both ways."""
    daemon = started.daemon
    put_executable(daemon.root / "bin" / "good")
    daemon.write({"default-runtime": "good", "runtimes": {"good": {"path": f"{daemon.root}/bin/good"}}})
    if daemon.has_ended():
        daemon.start()
    daemon.reload()
    Client(str(daemon.socket)).record_verification("docker", "follows")
    started.wait_for_alerts()
    return started


def promtool(*words: str) -> None:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[tuple[str, str]]:
    """Return each expression of the dashboard, as Grafana sends it for all nodes, after the title of its panel."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [
        (panel["title"], target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m"))
        for panel in panels
        for target in panel["targets"]
    ]


def test_promtool_accepts_the_rules_their_tests_and_the_examples() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    promtool("test", "rules", str(MONITORING / "rules-test.yml"))
    for name in ("prometheus.yml", "unix-socket.yml"):
        promtool("check", "config", str(MONITORING / name))


def test_each_rule_is_tested_to_fire_and_to_be_silent() -> None:
    rules = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    tests = (MONITORING / "rules-test.yml").read_text()
    assert set(re.findall(r"alertname: (\w+)\n +exp_alerts:", tests)) == rules
    assert set(re.findall(r"alertname: (\w+)}", tests)) == rules


def test_prometheus_gets_the_metrics_by_both_ways(node: Monitored) -> None:
    number = node.daemon.status()["generation"]
    wait_until(
        lambda: (
            {(labels["job"], value) for labels, value in node.query("runtimed_generation")}
            == {("node", number), ("runtimed", number)}
        ),
        "both jobs",
    )
    # A scrape that takes longer than its time-out makes a gap.
    wait_until(lambda: [value for _, value in node.query("runtimed_up")] == [1], "a scrape of the file")
    # The metrics of the process come by the port only: node-exporter has those of its own process.
    wait_until(
        lambda: (
            sorted(labels["job"] for labels, _ in node.query("process_resident_memory_bytes")) == ["node", "runtimed"]
        ),
        "the metrics of both processes",
    )
    wait_until(lambda: [value for _, value in node.query("node_textfile_scrape_error")] == [0], "no error")
    files = [str(node.textfile)]
    wait_until(
        lambda: [labels["file"] for labels, _ in node.query("node_textfile_mtime_seconds")] == files, "its one file"
    )


def test_each_expression_of_the_dashboard_has_an_answer(node: Monitored) -> None:
    for title, expression in expressions():
        if title in EMPTY:
            wait_until(lambda expression=expression: node.query(expression) == [], title)  # type: ignore[misc]
        else:
            # Rates need two scrapes.
            wait_until(partial(node.query, expression), f"{title}: {expression}")
    wait_until(lambda: len(node.label_values("instance", "runtimed_build_info")) == 2, "both ways")


def test_a_rejected_reload_fires_until_the_next_one_that_succeeds(node: Monitored) -> None:
    node.daemon.write("{")
    assert node.daemon.reload()["outcome"] == "rejected"
    node.wait_for_alerts("RuntimedReloadFailed")
    wait_until(
        lambda: (
            {(labels["job"], labels["subject"]) for labels, _ in node.query("runtimed_fault")}
            == {("node", "configuration"), ("runtimed", "configuration")}
        ),
        "both jobs",
    )
    for title, expression in expressions():
        if title in EMPTY:
            wait_until(partial(node.query, expression), title)
    node.daemon.write({})
    assert node.daemon.reload()["outcome"] in ("applied", "unchanged")
    node.wait_for_alerts()


def test_drift_an_unavailable_default_runtime_and_an_engine_fire(node: Monitored) -> None:
    binary = node.daemon.root / "bin" / "good"
    make_drift(node.daemon, binary, "#!/bin/sh\n# another\n")
    node.wait_for_alerts("RuntimedDrift")
    Client(str(node.daemon.socket)).record_verification("docker", "differs", "another table")
    node.wait_for_alerts("RuntimedDrift", "RuntimedEngineDoesNotFollow")
    binary.unlink()
    node.wait_for_alerts("RuntimedDrift", "RuntimedEngineDoesNotFollow", "RuntimedDefaultRuntimeUnavailable")


def test_a_default_runtime_whose_proof_is_outdated_fires_where_one_is_required(node: Monitored) -> None:
    client, configuration = Client(str(node.daemon.socket)), json.loads(node.daemon.config.read_text())
    known = wait_until(lambda: (found := client.explain("good"))["identity"] and found, "the look at the binary")
    client.record_proof("good", outcome="passed", engine="direct", digest=known["digest"], identity=known["identity"])
    node.daemon.write({**configuration, "runtimed": {"require-proof": True}})
    assert node.daemon.reload()["outcome"] in ("applied", "unchanged")
    node.wait_for_alerts()
    make_drift(node.daemon, node.daemon.root / "bin" / "good", "#!/bin/sh\n# another\n")
    node.wait_for_alerts("RuntimedDrift", "RuntimedDefaultRuntimeNotProved")


def test_an_old_file_fires(node: Monitored) -> None:
    old_s = time.time() - 600
    os.utime(node.textfile, (old_s, old_s))
    wait_until(lambda: ("RuntimedTextfileStale", "node") in node.alerts(), "an alert")
    node.wait_for_alerts()


def test_a_daemon_that_ends_fires_by_both_ways(node: Monitored) -> None:
    node.daemon.stop()
    node.wait_for_alerts("RuntimedDown")
    wait_until(lambda: node.query("runtimed_generation") == [], "an end of what it told")
    node.daemon.start()
    node.wait_for_alerts()
    node.textfile.unlink()
    wait_until(lambda: ("RuntimedMetricsMissing", "node") in node.alerts(), "an alert")


def test_the_file_is_whole_at_every_instant_while_it_is_replaced(node: Monitored) -> None:
    node.write_textfile()
    first, last = "# HELP runtimed_build_info ", "\nruntimed_up 1\n"
    writer = [sys.executable, "-c", WRITER, "--socket", str(node.daemon.socket), "metrics", "--textfile"]
    reads, scrapes = 0, 0
    seen: set[int] = set()
    torn: list[str] = []
    failed: list[str] = []
    process = subprocess.Popen([*writer, str(node.textfile)], stdin=subprocess.PIPE)

    def scrape() -> None:
        nonlocal scrapes
        while process.poll() is None:
            text = node.scrape_node_exporter()
            scrapes += 1
            if "node_textfile_scrape_error 0\n" not in text or "\nruntimed_up 1\n" not in text:
                failed.append(text)

    scraping = threading.Thread(target=scrape)
    scraping.start()
    try:
        while (len(seen) < REPLACEMENTS or scrapes < SCRAPES) and process.poll() is None:
            # A missing file raises.
            text = node.textfile.read_text()
            seen.add(node.textfile.stat().st_mtime_ns)
            reads += 1
            if not (text.startswith(first) and text.endswith(last)):
                torn.append(text)
        process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        scraping.join()
    sys.stdout.write(f"{len(seen)} replacements, {reads} reads, {scrapes} scrapes: {len(torn)} torn\n")
    assert process.returncode == 0
    assert torn == failed == []
    assert [path.name for path in node.textfile.parent.iterdir()] == ["runtimed.prom"]
