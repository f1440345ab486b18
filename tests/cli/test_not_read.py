"""Tests that a file in the drop-in directory that is not read is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.daemon import new_daemon
from harness.runtimectl import runtimectl


def test_reload_check_and_status_report_a_dropin_that_does_not_end_in_json() -> None:
    with new_daemon() as daemon:
        daemon.write({})
        daemon.dropins.mkdir()
        path = daemon.dropins / "10-gpu.conf"
        path.write_text("{}")
        with daemon.running():
            line = f"{path}: is not read, because the name of a drop-in ends in .json"
            for verb in ("reload", "plan", "status"):
                assert runtimectl(verb, on=daemon).stdout.count(line) == 1, verb
            assert [remark["file"] for remark in daemon.reload()["remarks"]] == [str(path)]
            assert daemon.stop() == 0
        check = [sys.executable, "-m", "runtimed", "--validate", "--config", str(daemon.config)]
        shown = subprocess.run(check, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
        assert shown.count(line) == 1
