"""A user's daemon and client without a session: no XDG_RUNTIME_DIR, no /run/user/UID."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from harness.daemon import RunningDaemon, ordinary_user, short_directory


class DaemonWithoutSession(RunningDaemon):
    """Started as cron starts it: without arguments, by a user who has a home and no runtime directory."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, ordinary_user(), {"HOME": str(root)})
        # An ordinary user cannot write the coverage data of a run as root.
        for name in [name for name in self.environ if name.startswith(("XDG_", "COVERAGE_"))]:
            del self.environ[name]
        self.socket = root / ".local" / "state" / "runtimed-run" / "runtimed.sock"

    def arguments(self) -> list[str]:
        return []


# A user who is logged in where the tests run has /run/user/UID, which is used then.
without_session = pytest.mark.skipif(
    os.path.exists(f"/run/user/{os.geteuid() or 65534}"), reason="this user has a session"
)


@without_session
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_without_a_session_daemon_and_client_use_a_directory_of_mode_0700(umask: int) -> None:
    with short_directory() as root:
        if ordinary_user():
            os.chown(root, 65534, 65534)
        daemon = DaemonWithoutSession(root)
        before = os.umask(umask)
        try:
            daemon.start()
        finally:
            os.umask(before)
        try:
            assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o700
            command = [*ordinary_user(), sys.executable, "-m", "runtimed.cli.ctl", "version"]
            run = subprocess.run(command, env=daemon.environ, capture_output=True, text=True, check=False)
            assert f"process {daemon.pid} on {daemon.socket}" in run.stdout, run.stderr
        finally:
            daemon.kill()


@without_session
def test_an_exec_root_that_others_can_change_is_refused_with_the_remedy() -> None:
    with short_directory() as root:
        daemon = DaemonWithoutSession(root)
        daemon.socket.parent.mkdir(parents=True)
        daemon.socket.parent.chmod(0o770)
        if ordinary_user():
            for path in (root, *daemon.socket.parents[:3]):
                os.chown(path, 65534, 65534)
        text = daemon.fail_to_start()
        assert (
            f"{daemon.socket.parent}: belongs to user id {daemon.socket.parent.stat().st_uid} and has mode 0770" in text
        )
        assert "--exec-root or by the variable XDG_RUNTIME_DIR" in text
        if ordinary_user():
            daemon.socket.parent.chmod(0o755)
            os.chown(daemon.socket.parent, 65533, 65533)
            assert "belongs to user id 65533" in daemon.fail_to_start()


@without_session
def test_a_home_whose_path_is_too_long_for_a_socket_is_refused_with_the_remedy() -> None:
    with short_directory() as root:
        daemon = DaemonWithoutSession(root)
        home = root / ("x" * 100)
        home.mkdir()
        if ordinary_user():
            os.chown(home, 65534, 65534)
        daemon.environ["HOME"] = str(home)
        assert "name a shorter one with --host, and for clients by RUNTIMED_SOCKET" in daemon.fail_to_start()
