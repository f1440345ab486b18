"""Lists and removes everything on the node that has the id of a test: the leftovers of the runtime.

The id is random, so that a name with it belongs to the test. No other thing is touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import partial

from runtimed.core.mounts import parse_mounts
from runtimed.core.proof.bundle import VARIABLE
from runtimed.core.proof.engine import Leftover, Traces
from runtimed.host.proof.bundle import KEPT, has_mounts
from runtimed.host.proof.containerd_leftovers import ContainerdLeftovers
from runtimed.host.proof.found import Found

# Time for processes to end, and for containerd to clean up after the end of a shim.
_REMOVAL_S = 10.0
_PAUSE_S = 0.05
_PROGRAM_S = 5.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TRANSIENT_UNITS = "/run/systemd/transient"
# Below these, shims of virtual machines and of gVisor make directories with the name of a container.
_SHIM_DIRECTORIES = (
    *("/run/containerd/runsc", "/run/kata", "/run/kata-containers", "/run/kata-containers/shared/sandboxes"),
    *("/run/vc/sbs", "/run/vc/vm"),
)
_CGROUPS = ("cgroup", "cgroup2")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# A process with one of these has ended (proc_pid_stat(5)).
_ENDED = (b"Z", b"X")


def list_leftovers(traces: Traces) -> Sequence[Leftover]:
    """Return everything with the id of the test of ``traces``."""
    with contextlib.closing(ContainerdLeftovers(traces)) as containerd:
        return [found.leftover for found in _find(traces, containerd)]


def remove_all(traces: Traces) -> Sequence[Leftover]:
    """Remove everything with the id of the test of ``traces``, and return the rest.

    Removes the directories of the test, too, except that of its bundle, which is marked to be kept where there is a
    rest. Blocks for some seconds where a removal fails.
    """
    deadline_s = time.monotonic() + _REMOVAL_S
    with contextlib.closing(ContainerdLeftovers(traces)) as containerd:
        while found := list(_find(traces, containerd)):
            removable = [each for each in found if each.is_removable]
            if not removable or time.monotonic() > deadline_s:
                break
            # Containers first: containerd and the runtime remove most of the other things.
            for each in [each for each in removable if each.is_alive] or removable:
                with contextlib.suppress(OSError, subprocess.SubprocessError):
                    each.remove()
            time.sleep(_PAUSE_S)
        else:
            containerd.remove_namespace()
    if found:
        with contextlib.suppress(OSError), open(f"{traces.bundle}/{KEPT}", "wb"):
            pass
    else:
        for directory in filter(os.path.lexists, (traces.state, *containerd.directories)):
            with contextlib.suppress(OSError):
                _remove_tree(directory)
    return [each.leftover for each in found]


def _find(traces: Traces, containerd: ContainerdLeftovers) -> Iterator[Found]:
    processes = dict(_processes(traces.id))
    yield from containerd.find()
    yield from processes.values()
    yield from _mounts(traces, processes)
    yield from _cgroups(traces.id)
    yield from _units(traces.id)
    yield from _states(traces, containerd)
    if traces.pin and os.path.lexists(traces.pin):
        yield Found("pin", traces.pin, partial(os.unlink, traces.pin))


def _pattern(identifier: str) -> re.Pattern[bytes]:
    return re.compile(rb"%b(?![0-9a-zA-Z])" % identifier.encode())


def _processes(identifier: str) -> Iterator[tuple[int, Found]]:
    """Yield the processes of a test: those in its cgroup, and this user's with its variable or its id as an argument.

    A process on a terminal may have the id as an argument because a person looks at the test.
    """
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid() and _is_of_test(name, identifier):
            pid = int(name)
            yield pid, Found("process", f"{pid} ({_command(name)})", partial(_kill, pid, identifier), is_alive=True)


def _is_of_test(pid: str, identifier: str) -> bool:
    try:
        state, _, _, _, terminal, *_ = _read(pid, "stat").rpartition(b") ")[2].split()
        if state in _ENDED:
            return False
        if _pattern(identifier).search(_read(pid, "cgroup")):
            return True
        # Any user can see the id, and start a program with it.
        if not re.search(rb"^Uid:\t%d\t" % os.getuid(), _read(pid, "status"), re.MULTILINE):
            return False
        if f"{VARIABLE}={identifier}".encode() in _read(pid, "environ").split(b"\0"):
            return True
        return terminal == b"0" and identifier.encode() in _read(pid, "cmdline").split(b"\0")
    except (OSError, ValueError):
        return False  # it has ended


def _read(pid: str, file: str) -> bytes:
    with open(f"/proc/{pid}/{file}", "rb") as opened:
        return opened.read()


def _command(pid: str) -> str:
    with contextlib.suppress(OSError):
        return _read(pid, "comm").decode(errors="replace").strip()
    return "ended"


def _kill(pid: int, identifier: str) -> None:
    # The descriptor holds the process: its id cannot become that of another one after the second look.
    descriptor = os.pidfd_open(pid)
    try:
        if _is_of_test(str(pid), identifier):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def _mounts(traces: Traces, processes: dict[int, Found]) -> Iterator[Found]:
    """Yield the mounts of a test in every mount namespace, except those of its processes, which end with them.

    Mounts that an ordinary user can have made are left out: those in other user namespaces, and those below a directory
    of the user, who could replace it by a link to a directory of the host before umount(8) follows the path.
    """
    pattern, seen, own = _pattern(traces.id), set(), os.readlink("/proc/self/ns/user")
    device = os.stat(os.path.dirname(traces.bundle)).st_dev
    bundles = b"%d:%d" % (os.major(device), os.minor(device))
    for name in sorted(filter(str.isdecimal, os.listdir("/proc")), key=int):
        if int(name) in processes:
            continue
        try:
            namespace = os.readlink(f"/proc/{name}/ns/mnt")
            if namespace in seen or os.readlink(f"/proc/{name}/ns/user") != own:
                continue
            table = _read(name, "mountinfo")
        except OSError:
            continue  # the process has ended, or is a kernel thread
        seen.add(namespace)
        # The newest one first, because it may be on top of another one.
        for mount in reversed(list(parse_mounts(table))):
            # A user may also rename a directory that a container of another one has mounted.
            is_shown = mount.device == bundles or mount.kind in _CGROUPS
            if pattern.search(mount.point) or (is_shown and pattern.search(mount.root)):
                point = os.fsdecode(mount.point)
                if _only_root_replaces(f"/proc/{name}/root", point):
                    yield Found("mount", point, partial(_run, "umount", "--lazy", "--namespace", name, point))


def _only_root_replaces(root: str, point: str) -> bool:
    """Return whether only root can make ``point`` lead elsewhere, a path below the root directory ``root``."""
    directory, sticky = root, False
    for part in ("", *point.split("/")[1:-1]):
        directory += f"/{part}"
        try:
            # The link to a root directory is followed, and no other one.
            found = os.stat(directory, follow_symlinks=not part)
        except OSError:
            return False
        if found.st_uid != 0 or not stat.S_ISDIR(found.st_mode):
            return False
        sticky = bool(found.st_mode & _OTHERS_WRITE)
        if sticky and not found.st_mode & stat.S_ISVTX:
            return False
    # In a directory like /tmp others can replace their own entries, and this one may be theirs below the mount.
    return not sticky


def _cgroups(identifier: str) -> Iterator[Found]:
    """Yield the control groups of a test in every hierarchy."""
    with open("/proc/self/mountinfo", "rb") as file:
        hierarchies = {mount.device: mount.point for mount in parse_mounts(file.read()) if mount.kind in _CGROUPS}
    pattern = _pattern(identifier)
    for point in hierarchies.values():
        for directory, names, _ in os.walk(point):
            for name in filter(pattern.search, list(names)):
                names.remove(name)
                path = os.fsdecode(os.path.join(directory, name))
                yield Found("cgroup", path, partial(_remove_cgroup, path))


def _remove_cgroup(path: str) -> None:
    for directory, _, _ in os.walk(path, topdown=False):
        os.rmdir(directory)


def _units(identifier: str) -> Iterator[Found]:
    """Yield the scope that the runtime has made for a container, active or failed."""
    unit = f"{identifier}.scope"
    if os.path.lexists(f"{_TRANSIENT_UNITS}/{unit}"):
        yield Found("unit", unit, partial(_stop_unit, unit))


def _stop_unit(unit: str) -> None:
    _run("systemctl", "stop", unit)
    _run("systemctl", "reset-failed", unit)


def _states(traces: Traces, containerd: ContainerdLeftovers) -> Iterator[Found]:
    """Yield the states of the container in the directories of a test, and those that shims name after it.

    crun keeps a cache for all containers beside them.
    """
    named = [f"{directory}/{traces.id}" for directory in _SHIM_DIRECTORIES]
    directories = (traces.state, *containerd.directories)
    inside = [f"{directory}/{name}" for directory in directories for name in _list(directory) if traces.id in name]
    for path in (*named, *containerd.sockets, *inside):
        if os.path.lexists(path):
            # A containerd that is not running removes them after its next start.
            yield Found("state", path, partial(_remove_tree, path), is_removable=containerd.is_known)


def _list(directory: str) -> Sequence[str]:
    with contextlib.suppress(OSError):
        return os.listdir(directory) if directory else ()
    return ()


def _remove_tree(path: str) -> None:
    if not os.path.isdir(path) or os.path.islink(path):
        os.unlink(path)
        return
    if not has_mounts(path):
        shutil.rmtree(path)


def _run(*words: str) -> None:
    environment = {"PATH": _PATH, "LC_ALL": "C"}
    subprocess.run(words, check=False, capture_output=True, timeout=_PROGRAM_S, env=environment)  # noqa: S603
