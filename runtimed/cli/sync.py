"""Implements the verb sync: keeps an engine's file in step with the table, and records whether the engine follows.

A run reads the table, writes the file, has the engine reload it where that is known to take effect, verifies the
engine, and records the outcome in the daemon. A run begins at the start, after each event that may change the file, and
about once a minute.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable

from runtimed.cli import verbs
from runtimed.cli.engine_files import Written, write_engine
from runtimed.cli.engine_state import render_engine
from runtimed.cli.verify import hang_up_engine, verify_engine
from runtimed.client import Client, ClientError
from runtimed.core import engines
from runtimed.core.engines.engine import ExportOptions, Table
from runtimed.core.engines.verification import Verification
from runtimed.core.errors import ConfigurationRejected
from runtimed.core.message_text import printable
from runtimed.host.systemd import Notifier

# At most one run a second: the next one reads the table after all events of the meantime.
_PAUSE_S = 1.0
# The daemon's heartbeats, one every 15 s, make these about a minute, and a quarter of one while the engine does not
# follow: it may be started or restarted at any time.
_VERIFY_S = 50.0
_VERIFY_SOON_S = 10.0
# A run takes at most this part of the time: to ask podman for many runtimes takes seconds.
_SHARE = 1 / 50
# While the engine does not follow, an administrator may be waiting for it.
_SHARE_SOON = 1 / 10
# Between attempts to reach the daemon.
_RETRY_S = 5.0
# The time that an engine gets for a reload.
_RELOAD_S = 5.0
_POLL_S = 0.5
_CHANGES = ("generation", "drift", "gap")
_NAMES_MAX = 10
# A request has room for as many characters of any kind; the daemon takes a thousand.
_DETAIL_MAX = 600


def sync(client: Client, args: Namespace) -> int:
    """Keep an engine in step with the table until the process is ended."""
    name, writing = args.engine, engines.load_engine(args.engine).writing
    if writing is None:
        verbs.complain(f"runtimectl: {name} has no file on this node; runtimectl export {name} prints its objects")
        return verbs.USAGE
    synchronizer = Synchronizer(
        client,
        name,
        write=lambda table: write_engine(name, table, ExportOptions()),
        verify=lambda table: verify_engine(name, table),
        hang_up=lambda: hang_up_engine(name),
        log=Log(Notifier(os.environ).ready, json=args.json),
    )
    # A unit that was started before this directory existed cannot write to it. systemd starts the unit again.
    waits = "NOTIFY_SOCKET" in os.environ and not os.path.isdir(writing.directory)
    while not (waits and os.path.isdir(writing.directory)):
        synchronizer.run_and_wait()
    return verbs.OK


class Log:
    """Prints an outcome or an error where it differs from the last one; ``ready`` gets each as the service's state."""

    def __init__(self, ready: Callable[[str], None], *, json: bool) -> None:
        self._ready = ready
        self._json = json
        self._last: object = None

    def outcome(self, found: Verification) -> None:
        """Print the outcome of a verification."""
        text = str(render_engine(found).value)
        self._ready(text)
        if found != self._last:
            self._last = found
            verbs.print_json(found) if self._json else verbs.print_lines([printable(text)])
            sys.stdout.flush()

    def error(self, error: ClientError) -> None:
        """Print the error that ended a run early."""
        self._ready(str(error))
        if str(error) != self._last:
            self._last = str(error)
            verbs.complain(f"runtimectl: {error}; trying again")

    def written(self, written: Written) -> None:
        """Print which files were written, with the remarks on them."""
        if self._last is None:
            # The engine may be ordered after this unit, and must not be waited for.
            self._ready("the file is written")
        for path in written.written:
            verbs.complain(f"wrote {path}")
        for remark in written.remarks if written.written else ():
            verbs.complain(f"note: {remark}")


class Synchronizer:
    """Keeps the ``engine`` in step with the daemon's table.

    ``write`` makes the engine's file that of a table, ``verify`` compares the engine with a table, and ``hang_up``
    sends SIGHUP to the engine if it runs.
    """

    def __init__(
        self,
        client: Client,
        engine: str,
        *,
        write: Callable[[Table], Written],
        verify: Callable[[Table], Verification],
        hang_up: Callable[[], object],
        log: Log,
    ) -> None:
        self._client = client
        self._engine = engine
        self._write = write
        self._verify = verify
        self._hang_up = hang_up
        self._log = log
        # The generation of which the engine has the file, None if it is not known to have it.
        self._generation: int | None = None
        # Whether the engine was sent SIGHUP since the file was written.
        self._is_told = False
        # Whether a running engine may not have read a file that was written here. Its answers need not show each
        # change: those of dockerd lack the options of a runtimeType.
        self._is_unread = False
        self._follows = False

    def run_and_wait(self) -> None:
        """Make one run, and wait until the next one is due."""
        try:
            began_s = time.monotonic()
            seq = self.run()
            took_s = time.monotonic() - began_s
            least_s, share = (_VERIFY_S, _SHARE) if self._follows else (_VERIFY_SOON_S, _SHARE_SOON)
            time.sleep(_PAUSE_S)
            self._wait(seq, max(least_s, took_s / share))
        except ClientError as error:
            self._log.error(error)
            time.sleep(_RETRY_S)

    def run(self) -> int:
        """Make one run; return the number of an event, the last one that the table of this run certainly includes.

        Raises:
            ClientError: the daemon cannot be reached, or refuses.
        """
        # In this order: an event is published after the table that it is about.
        seq: int = self._client.status()["events"]["seq"]
        table = self._client.runtimes()
        is_known = table["generation"] == self._generation
        if is_known:
            # Before the file is written, so that a change by another program is named before it is undone.
            self._record(self._verify_or_reload(table))
        failure = self._try_write(table)
        if not is_known or self._generation is None:
            self._record(self._verify_or_reload(table), failure)
        self._generation = None if failure else table["generation"]
        return seq

    def _wait(self, seq: int, pause_s: float) -> None:
        """Return after the next event that may change the engine's file, or when ``pause_s`` have passed."""
        due_s = time.monotonic() + pause_s
        events = self._client.watch(seq)
        try:
            for event in events:
                if event["type"] in _CHANGES or time.monotonic() >= due_s:
                    return
        finally:
            events.close()

    def _try_write(self, table: Table) -> str:
        """Write the engine's file; return why that failed, the empty string if it did not."""
        try:
            written = self._write(table)
        except ConfigurationRejected as rejection:
            # A file that cannot be written must not keep the engine from starting.
            self._generation = None
            problems = "; ".join(map(str, rejection.problems[:_NAMES_MAX]))
            return f"the file was not written: {problems}"
        self._log.written(written)
        if written.written:
            self._generation, self._is_told, self._is_unread = None, False, True
        return ""

    def _verify_or_reload(self, table: Table) -> Verification:
        """Return the verification of the engine, after a reload where that lets it follow."""
        found = self._verify(table)
        if found["state"] == "not-running":
            self._is_unread = False
        is_due = found["state"] == "not-told" or (found["state"] == "follows" and self._is_unread)
        if found["takes_effect"] != "reload" or not is_due:
            return found
        if not self._is_told:
            try:
                self._hang_up()
            except OSError as error:
                return {**found, "detail": f"{self._engine} cannot be sent SIGHUP: {error.strerror}"}
            self._is_told, self._is_unread = True, False
            deadline_s, is_over = time.monotonic() + _RELOAD_S, False
            while found["state"] == "not-told" and not is_over:
                # The last verification begins after the deadline, because the machine may stand still.
                is_over = time.monotonic() >= deadline_s
                time.sleep(_POLL_S)
                found = self._verify(table)
        if found["state"] != "not-told":
            return found
        detail = f"{self._engine} was reloaded; another file or its command line overrides {found['file']}"
        return {**found, "state": "differs", "detail": detail}

    def _record(self, found: Verification, failure: str = "") -> None:
        """Print the outcome of a verification and record it in the daemon, with the names that differ."""
        names = dict.fromkeys(each["name"] or "the default runtime" for each in found["differences"])
        listed = [*names][:_NAMES_MAX] + (["and others"] if len(names) > _NAMES_MAX else [])
        detail = failure or ": ".join(part for part in (", ".join(listed), found["detail"]) if part)
        self._follows = found["state"] == "follows"
        self._log.outcome({**found, "detail": detail})
        self._client.record_verification(self._engine, found["state"], printable(detail)[:_DETAIL_MAX])
