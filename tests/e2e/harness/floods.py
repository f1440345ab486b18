"""A configuration that changes a thousandfold, or without pause, or is read by everybody and does not change."""

from __future__ import annotations

import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path

from e2e.harness.changing import AFTERWARDS_S, ONE, ChangeCase, ConfigurationOnVolume, dropin, main_file, scene
from e2e.harness.volumes import new_ext4, new_tmpfs
from harness.daemon import PATIENCE_S, put

# The full measure is 60.
REWRITING_S = float(os.environ.get("RUNTIMED_TEST_REWRITING_S", "15"))
DROPINS = 1000
READINGS = 2000
# The longest that hints are held back while there is no quiet.
MAX_WAIT_S = 2
PLAIN = ChangeCase([])
# What the other tests mount would wake it.
SECLUDED = ChangeCase([], command=["unshare", "--mount", "--propagation", "private"])


def write_a_thousand_dropins() -> str:
    """See them all applied by no more than three reloads."""
    with scene(new_ext4, PLAIN) as it:
        begun_s = time.monotonic()
        for number in range(DROPINS):
            (it.dropins / f"30-{number}.json").write_text(json.dumps(dropin(str(number), f"n{number}")))
        took_s = time.monotonic() - begun_s
        wanted = ONE | {f"n{number}": f"/opt/{number}" for number in range(DROPINS)}
        seen_s = it.see(lambda: it.table() == wanted, "a thousand drop-ins", 2 * PATIENCE_S)
        time.sleep(AFTERWARDS_S)
        reports = it.reports()[1:]
        assert set(reports) == {"applied"}
        # Whoever takes longer to write them gives more reason to look.
        assert len(reports) <= 3 + took_s // MAX_WAIT_S
    return f"{seen_s:.1f} s, in {len(reports)} reloads; writing took {took_s:.1f} s"


def rewrite(pause_s: float) -> str:
    """See new tables come through all the time, and the last one in the end."""
    with scene(new_tmpfs, PLAIN) as it:
        number, seen = 0, [(0.0, 0)]
        begun_s = time.monotonic()
        while (passed_s := time.monotonic() - begun_s) < REWRITING_S:
            number += 1
            put(it.main, main_file(str(number)))
            time.sleep(pause_s)
            if passed_s - seen[-1][0] > 0.1:
                seen.append((passed_s, len(it.reports())))
        seen_s = it.see(lambda: it.table()["w"] == f"/opt/{number}", "the last table")
        time.sleep(AFTERWARDS_S)
        reports = it.reports()[1:]
        halfway = next(count for passed_s, count in seen if passed_s >= REWRITING_S / 2)
        assert set(reports) == {"applied"}
        assert 1 < halfway < seen[-1][1]
        assert REWRITING_S / 10 <= len(reports) <= REWRITING_S * 5
    return f"{seen_s:.1f} s, after {number} tables, {len(reports)} of them applied"


rewrite_without_pause = partial(rewrite, 0)
# As evenly as this there is never the quiet that is waited for, where a storm of events comes in gusts.
rewrite_evenly = partial(rewrite, 0.05)


def switches(it: ConfigurationOnVolume) -> int:
    """Return how often a thread of the daemon went to sleep of its own accord, and so was woken."""
    assert it.daemon.process is not None
    tasks = Path(f"/proc/{it.daemon.process.pid}/task").glob("*/status")
    lines = [line for task in tasks for line in task.read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def read_by_others() -> str:
    """See that it causes no reload, and does not wake the daemon."""
    with scene(new_tmpfs, SECLUDED) as it:
        before, begun_s = switches(it), time.monotonic()
        script = f'for i in $(seq {READINGS}); do cat "$0"/daemon.json "$0"/daemon.json.d/*; done >/dev/null'
        subprocess.run(["sh", "-c", script, it.etc], check=True)
        reading, took_s = switches(it) - before, time.monotonic() - begun_s
        before = switches(it)
        time.sleep(took_s)
        idle = switches(it) - before
        assert it.reports() == ["applied"]
        # An event for each would wake it many times as often.
        assert reading <= idle + READINGS // 5
    return f"woken {reading} times in {took_s:.1f} s, and {idle} times when idle"


def read_by_itself() -> str:
    """See that its own reading is no change of a file."""
    with scene(new_tmpfs, PLAIN) as it:
        for _ in range(50):
            assert it.daemon.reload()["outcome"] == "unchanged"
        time.sleep(AFTERWARDS_S)
        assert it.reports() == ["applied", *["unchanged"] * 50]
        assert not [event for event in it.daemon.log() if event.get("reason") == "file-change"]
    return "no reload but those asked for"
