"""A real systemd, booted in a container of its own on an overlay of the running root; what it writes is forgotten."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from e2e.harness.cgroups import new_cgroup
from harness.daemon import short_directory, wait_until

CHECKOUT = Path(__file__).parents[3]
# Far beyond what a boot takes, also while several machines boot: a bound on a failing test.
BOOT_S = 300.0
# So is this: `systemctl reload` waits for ever for a service that never says that it is ready again.
COMMAND_S = 600.0
_OPTIONS = ("--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe", "--link-journal=no")
# What containers in it need: network namespaces of their own, and the keyrings that runc makes.
_RIGHTS = ("--capability=all", "--system-call-filter=@keyring bpf")
# What the running root starts by itself and what a machine of its own has no use for.
_OFF = ("containerd.service", "runtimed.service", "runtimed.socket", "systemd-networkd-wait-online.service")
# What packages have enabled there: dockerd alone keeps a boot waiting for a minute, for a containerd that is masked.
_ENABLED = ("default.target.wants", "multi-user.target.wants", "sockets.target.wants", "timers.target.wants")

_OURS = ("etc/runtimed", "var/lib/runtimed", "run/runtimed", "opt/runtimed", "usr/local/bin/runtimed")


class Booted:
    """A machine below ``root``, booted or not."""

    def __init__(self, base: Path, entering: Sequence[str]) -> None:
        self.base = base
        # An underscore is no part of a host's name, and of some temporary directories'.
        self.name = base.name.replace("_", "0")
        # In front of nspawn: it makes the machine's control groups below those that it is in itself, always under the
        # same name, and two systemds in the same groups end each other's processes.
        self._entering = entering
        # More options of systemd-nspawn(1): directories of this machine that it has, too, say.
        self.options: tuple[str, ...] = ()
        self.root = base / "root"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def boot(self) -> float:
        """Boot, and return how many seconds that took until the units that were wanted had started."""
        begun_s = time.monotonic()
        with (self.base / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                [
                    *self._entering,
                    "systemd-nspawn",
                    *_OPTIONS,
                    *_RIGHTS,
                    *self.options,
                    "-D",
                    str(self.root),
                    "-M",
                    self.name,
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        wait_until(self._find_init, "the first process of the machine", BOOT_S)
        wait_until(lambda: self.state() in ("running", "degraded"), f"a boot: {self.console()}", BOOT_S)
        return time.monotonic() - begun_s

    def shut_down(self) -> None:
        """Shut it down as an administrator does, and wait for the end."""
        if self._nspawn is not None:
            # What SIGRTMIN+4 tells systemd: power off.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGRTMIN + 4)
            try:
                self._nspawn.wait(BOOT_S)
            except subprocess.TimeoutExpired:
                self.cut_power()
            self._nspawn = None

    def cut_power(self) -> None:
        """End it at once."""
        if self._nspawn is not None:
            self._nspawn.kill()
            self._nspawn.wait()
            # Without one there was no boot; and process 0 stands for whoever asks, and its group.
            if self._init:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._init, signal.SIGKILL)
                wait_until(lambda: not Path(f"/proc/{self._init}/root/proc").exists(), "the machine to be gone")
            self._nspawn, self._init = None, 0

    def run(self, *command: str, status: int | None = 0, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine and return what it printed; ``status`` None takes any exit status.

        ``user`` is the name of somebody else than root, who comes with all groups of that name.
        """
        becoming = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
        done = subprocess.run(
            [*self.entering(), *becoming, *command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=_environ(),
            check=False,
            timeout=COMMAND_S,
        )
        assert status is None or done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the machine."""
        return subprocess.Popen(
            [*self.entering(), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def entering(self) -> list[str]:
        """Return the words in front of a command that make it run in the machine."""
        return ["nsenter", "-t", str(self._init), "-a"]

    def inside(self, path: str) -> Path:
        """Return where a path of the running machine is found from outside, also one on a file system of its own."""
        return Path(f"/proc/{self._init}/root{path}")

    def state(self) -> str:
        """Return what systemd says of itself: starting, running, degraded."""
        return self.run("systemctl", "is-system-running", status=None).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def journal(self, unit: str, *more: str) -> str:
        """Return the messages of a unit in this boot."""
        return self.run("journalctl", "-b", "-o", "cat", "--no-pager", "-u", unit, *more).stdout

    def eventually(self, condition: Callable[[], object], what: str) -> object:
        return wait_until(condition, f"{what}; {self.console()}")

    def console(self) -> str:
        """Return the last of what it printed on its console."""
        path = self.base / "console"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def let_containers_run(self) -> None:
        """Let processes in it make control groups of version 1, which is what nspawn shows read-only."""
        mounted = self.run("findmnt", "-rno", "TARGET", "-t", "cgroup").stdout.split()
        for hierarchy in mounted:
            self.run("mount", "-o", "remount,bind,rw", hierarchy)

    def _find_init(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self.console()
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    self._init = int(child)
                    return True
        return False


def _environ() -> dict[str, str]:
    """Return the environment of an administrator, with what pip needs to find packages from here."""
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/root", **pip}


@contextlib.contextmanager
def new_machine() -> Iterator[Booted]:
    """Yield a machine that is not booted yet; whatever it was, nothing of it is left afterwards."""
    with short_directory() as base:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "none", str(base)], check=True)
        try:
            for name in ("upper", "work", "root"):
                (base / name).mkdir()
            layers = f"lowerdir=/,upperdir={base}/upper,workdir={base}/work"
            subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", str(base / "root")], check=True)
            with new_cgroup(base.name) as entering:
                machine = Booted(base, entering)
                _settle(machine.root)
                try:
                    yield machine
                finally:
                    machine.cut_power()
        finally:
            subprocess.run(["umount", "-l", str(base / "root")], check=False)
            subprocess.run(["umount", "-l", str(base)], check=True)


def _settle(root: Path) -> None:
    """Make it a machine of its own: another identity, nothing of this one's runtimed, no services but the base."""
    (root / "etc/machine-id").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")
    units = root / "etc/systemd/system"
    for unit in _OFF:
        (units / unit).unlink(missing_ok=True)
    (units / "containerd.service").symlink_to("/dev/null")
    for directory in _ENABLED:
        for link in list((units / directory).glob("*")):
            link.unlink()
    for directory in _OURS:
        subprocess.run(["rm", "-rf", str(root / directory)], check=True)
