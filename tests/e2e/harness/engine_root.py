"""A mount namespace for engines: the machine's own root file system, or Debian's newest engines in another one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.daemon import wait_until

# Made by .ci/newer-engines.
NEWER = Path(os.environ.get("RUNTIMED_NEWER_ENGINES", "/var/tmp/runtimed-newer-engines"))

# crun and runsc take a hybrid hierarchy for a unified one; without the second mount they see cgroup 1 only. dockerd
# keeps a key in /etc/docker. The other directories are those that engines on this machine may use.
_MACHINE = """
set -e
root=
mask() { mkdir -p "$root$1" && mount -t tmpfs -o mode=0755 none "$root$1"; }
if [ "$#" = 1 ]; then
  mount -t tmpfs none /mnt
  mkdir /mnt/upper /mnt/work /mnt/root
  root=/mnt/root
  mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay "$root"
  mount -t proc proc "$root/proc"
  # The daemon and the engines use the same directories by the same names.
  for shared in dev sys run tmp; do mount --rbind "/$shared" "$root/$shared"; done
fi
if mountpoint -q "$root/sys/fs/cgroup/unified"; then umount "$root/sys/fs/cgroup/unified"; fi
for masked in /etc/docker /run/docker /run/containerd /run/containers /run/libpod /var/lib/containers; do
  mask "$masked"
done
cd "$root/"
if [ -n "$root" ]; then
  # A process in a chroot can make no user namespace, which gVisor does.
  pivot_root . mnt
  umount -l mnt
fi
echo ready
exec sleep infinity
"""


class EngineRoot:
    """Runs programs in the mount namespace, and with the root directory, of the process ``holder``."""

    def __init__(self, holder: int) -> None:
        # The words before a program and its arguments.
        self.enter = ("nsenter", f"--target={holder}", "--mount", "--net", "--root", "--wd")
        self.holder = holder

    def path(self, path: Path | str) -> Path:
        """Return the path under which this process sees ``path`` of the namespace."""
        return Path(f"/proc/{self.holder}/root{path}")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the namespace; it need not succeed."""
        return subprocess.run(
            [*self.enter, *words], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
        )


@contextlib.contextmanager
def new_engine_root(newer: Path | None = None) -> Iterator[EngineRoot]:
    """Yield a namespace with the machine's root directory, or with ``newer`` as the root directory.

    File systems that are mounted later are not seen in it. At the end no process is left that was started in it.
    """
    assert os.geteuid() == 0, "these tests need root"
    assert newer is None or newer.is_dir(), "run .ci/newer-engines"
    given = [] if newer is None else [str(newer)]
    command = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _MACHINE, "sh", *given]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            yield EngineRoot(holder.pid)
        finally:
            wait_until(lambda: not _kill_others(holder.pid), "an end of all processes in a mount namespace")
            holder.kill()


def _kill_others(holder: int) -> bool:
    """Kill the processes in the mount namespace of ``holder`` and their descendants; return whether there were any."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    here = os.readlink(f"/proc/{holder}/ns/mnt")
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if status[0] == "Z":
                continue
            parents[pid] = int(status[1])
            if os.readlink(f"/proc/{pid}/ns/mnt") == here:
                found.add(pid)
    found.discard(holder)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)
