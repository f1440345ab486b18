"""Debian's Prometheus and node-exporter, and the proxy of runtimed-metrics.service, on ports of the loopback device."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from e2e.harness.booted import CHECKOUT
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon, wait_until
from harness.runtimectl import Run, runtimectl

MONITORING = CHECKOUT / "etc/monitoring"
RULES = MONITORING / "rules.yml"
_PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
_COLLECTORS = "--collector.disable-defaults --collector.textfile --collector.textfile.directory"
# A scrape that takes longer than the interval fails, and an alert fires.
_GLOBAL = "global: {{scrape_interval: 1s, evaluation_interval: 500ms}}\nrule_files: [{rules}]\n"

Sample = dict[str, str]


@dataclass
class Monitored:
    """A daemon, and a Prometheus that scrapes it by the examples of the checkout, both ways at once."""

    daemon: RunningDaemon
    # The file for node-exporter.
    textfile: Path
    ports: dict[str, int] = field(default_factory=dict)

    def write_textfile(self) -> Run:
        """Do what runtimed-textfile.service does."""
        return runtimectl("metrics", "--textfile", str(self.textfile), on=self.daemon)

    def query(self, expression: str) -> list[tuple[Sample, float]]:
        """Return the labels and values of the answer to ``expression``; an invalid one is an error."""
        result = self._get("/api/v1/query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def label_values(self, label: str, series: str) -> list[str]:
        found: list[str] = self._get(f"/api/v1/label/{label}/values", **{"match[]": series})
        return found

    def alerts(self) -> set[tuple[str, str]]:
        """Return the names of the alerts that fire, with the job that they are about."""
        found = self._get("/api/v1/alerts")["alerts"]
        return {
            (each["labels"]["alertname"], each["labels"].get("job", "")) for each in found if each["state"] == "firing"
        }

    def wait_for_alerts(self, *names: str) -> None:
        """Wait until these alerts fire, each for both jobs, and no others."""
        expected = {(name, job) for name in names for job in ("node", "runtimed")}

        def fire() -> bool:
            self.write_textfile()
            return self.alerts() == expected

        try:
            wait_until(fire, "alerts", 2 * PATIENCE_S)
        except AssertionError:
            raise AssertionError(f"{self.alerts()}, not {expected}") from None

    def scrape_node_exporter(self) -> str:
        with urlopen(f"http://127.0.0.1:{self.ports['9100']}/metrics") as answer:
            return str(answer.read().decode())

    def _get(self, path: str, **query: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self.ports['9090']}{path}?{urlencode(query)}") as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]


@contextlib.contextmanager
def new_monitored() -> Iterator[Monitored]:
    """Yield a daemon that is not started, and the programs that watch it."""
    with new_daemon() as daemon, contextlib.ExitStack() as stack:
        directory = daemon.root / "textfile"
        directory.mkdir()
        found = Monitored(daemon, directory / "runtimed.prom", _free_ports("9090", "9100", "9742"))
        root = daemon.root
        exporter, proxy, prometheus = (f"127.0.0.1:{found.ports[port]}" for port in ("9100", "9742", "9090"))
        config = root / "prometheus.yml"
        config.write_text(_configuration(root, found.ports))
        for command in (
            f"prometheus-node-exporter --web.listen-address={exporter} {_COLLECTORS}={directory}",
            f"systemd-socket-activate -l {proxy} {_PROXY} {daemon.socket}",
            f"prometheus --web.listen-address={prometheus} --config.file={config} --storage.tsdb.path={root}/tsdb",
        ):
            stack.enter_context(_running(command.split(), root / "programs.log"))
        for address in (exporter, prometheus):
            wait_until(partial(_listens, address), f"{address}: {_log(daemon)}")
        yield found


def _configuration(root: Path, ports: dict[str, int]) -> str:
    """Return the checkout's example with the ports of this test, and its rules without patience."""
    rules = root / "rules.yml"
    rules.write_text(re.sub(r"\bfor: \w+", "for: 0s", RULES.read_text()))
    example = (MONITORING / "prometheus.yml").read_text()
    for port, ours in ports.items():
        example = example.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ours}")
    return _GLOBAL.format(rules=rules) + example


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    assert shutil.which(command[0]), f"install {command[0]}"
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=120)


def _free_ports(*names: str) -> dict[str, int]:
    """Return ports that are free, none of those that the kernel gives to whoever asks for any."""
    ports = filter(_is_free, random.sample(range(20_000, 32_000), 1000))
    return dict(zip(names, ports, strict=False))


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
        return True
    return False


def _log(daemon: RunningDaemon) -> str:
    return (daemon.root / "programs.log").read_text()[-2000:]
