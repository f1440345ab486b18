"""Tests of ``runtimectl metrics``: what it prints, and the file that it writes for node-exporter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.daemon import RunningDaemon, put
from harness.runtimectl import runtimectl
from prometheus_client.parser import text_string_to_metric_families

from runtimed.cli.metrics import replace_file


def read(text: str) -> dict[str, float]:
    """Return the metrics without labels."""
    families = text_string_to_metric_families(text)
    return {each.name: each.value for family in families for each in family.samples if not each.labels}


def test_it_prints_all_metrics(daemon: RunningDaemon) -> None:
    run = runtimectl("metrics", on=daemon)
    assert (run.returncode, run.stderr) == (0, "")
    found = read(run.stdout)
    assert found["runtimed_generation"] > 0
    assert found["process_open_fds"] > 0
    assert "runtimed_up" not in found


def test_the_file_has_the_metrics_of_the_daemon_and_that_it_is_up(daemon: RunningDaemon, tmp_path: Path) -> None:
    file = tmp_path / "runtimed.prom"
    run = runtimectl("metrics", "--textfile", str(file), on=daemon, umask=0o077)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert file.stat().st_mode & 0o7777 == 0o644
    assert os.listdir(tmp_path) == ["runtimed.prom"]
    found = read(file.read_text())
    assert found["runtimed_up"] == 1
    assert found["runtimed_config_last_reload_successful"] == 1
    assert not [name for name in found if not name.startswith("runtimed_")]


def test_a_rejected_reload_is_in_the_file(own_daemon: RunningDaemon, tmp_path: Path) -> None:
    file = tmp_path / "runtimed.prom"
    before = read(runtimectl("metrics", on=own_daemon).stdout)
    put(own_daemon.config, "{")
    assert runtimectl("reload", on=own_daemon).returncode == 1
    runtimectl("metrics", "--textfile", str(file), on=own_daemon)
    found, name = read(file.read_text()), "runtimed_config_last_reload_success_timestamp_seconds"
    assert (found["runtimed_up"], found["runtimed_config_last_reload_successful"]) == (1, 0)
    assert found[name] == before[name] > 0
    own_daemon.stop()
    found = read(runtimectl("metrics", on=own_daemon.start()).stdout)
    assert (found["runtimed_config_last_reload_successful"], found[name]) == (0, 0)


def test_without_a_daemon_the_file_says_only_that(tmp_path: Path) -> None:
    file = tmp_path / "runtimed.prom"
    file.write_text("runtimed_generation 7\n")
    run = runtimectl("metrics", "--textfile", "runtimed.prom", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr.startswith("runtimectl: no answer from a daemon on /nowhere/s: ")
    assert run.stderr.endswith("; runtimed_up is 0\n")
    assert read(file.read_text()) == {"runtimed_up": 0}
    assert runtimectl("metrics").returncode == 2


@pytest.mark.parametrize(("path", "status"), [("metrics.txt", 2), ("none/runtimed.prom", 1), ("taken.prom", 1)])
def test_a_file_that_cannot_be_written_or_would_not_be_read_is_an_error(tmp_path: Path, path: str, status: int) -> None:
    (tmp_path / "taken.prom").mkdir()
    run = runtimectl("metrics", "--textfile", path, cwd=tmp_path)
    assert run.returncode == status
    assert path in run.stderr.splitlines()[-2]
    assert os.listdir(tmp_path) == ["taken.prom"]


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    (tmp_path / f".a.prom.{os.getpid()}").symlink_to(victim)
    replace_file(str(tmp_path / "a.prom"), "ours")
    assert (victim.read_text(), (tmp_path / "a.prom").read_text()) == ("theirs", "ours")
    assert sorted(os.listdir(tmp_path)) == ["a.prom", "victim"]
