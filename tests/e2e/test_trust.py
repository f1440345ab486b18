"""Who could decide what root executes, and who may ask: as root, with other users' directories, ids and mounts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import PATIENCE_S, RunningDaemon, new_daemon, put, short_directory, wait_until

NOBODY = 65534
GROUP = 54321
TABLE = {"runtimes": {"w": {"path": "/bin/echo", "runtimeArgs": ["old"]}}}


class NestedDaemon(RunningDaemon):
    """Everything it uses lies in a directory of its own, each below another one, so that each can be spoilt alone."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.config = root / "etc" / "conf" / "daemon.json"
        self.dropins = root / "lib" / "dropins"
        self.data = root / "var" / "data"
        self.exec = root / "exec" / "state"
        self.socket = root / "run" / "sub" / "s.sock"
        for directory in (self.config.parent, self.dropins, self.data, self.exec, self.socket.parent):
            directory.mkdir(parents=True)
            directory.chmod(0o755)
            directory.parent.chmod(0o755)

    def arguments(self) -> list[str]:
        return [
            *("--config", str(self.config), "--config-dir", str(self.dropins)),
            *("--data-root", str(self.data), "--exec-root", str(self.exec), "-H", f"unix://{self.socket}"),
        ]

    def enter(self) -> list[str]:
        """Return the words in front of a command that make it run where the daemon runs."""
        return []


@pytest.fixture
def daemon() -> Iterator[NestedDaemon]:
    assert os.geteuid() == 0, "these tests need root"
    with new_daemon() as outer:
        outer.root.chmod(0o755)  # other users are to reach the socket
        daemon = NestedDaemon(outer.root)
        daemon.write(TABLE)
        put(daemon.dropins / "a.json", {})
        try:
            yield daemon
        finally:
            daemon.kill()


# What others could change, as a function of the daemon's places; with the path that the message has to name.
PLACES: dict[str, Callable[[NestedDaemon], Path]] = {
    "configuration": lambda d: d.config,
    "configuration's directory": lambda d: d.config.parent,
    "configuration's directory's parent": lambda d: d.config.parent.parent,
    "drop-in": lambda d: d.dropins / "a.json",
    "drop-in directory": lambda d: d.dropins,
    "drop-in directory's parent": lambda d: d.dropins.parent,
    "data root": lambda d: d.data,
    "data root's parent": lambda d: d.data.parent,
    "exec root": lambda d: d.exec,
    "exec root's parent": lambda d: d.exec.parent,
    "socket's directory": lambda d: d.socket.parent,
    "socket's directory's parent": lambda d: d.socket.parent.parent,
}
READ = [place for place in PLACES if place.startswith(("configuration", "drop-in"))]
WRITABLE = {"by its group": 0o020, "by everybody": 0o002}


def spoil(path: Path, how: str) -> None:
    if how == "owned":
        os.chown(path, NOBODY, -1)
    else:
        path.chmod(path.stat().st_mode | WRITABLE[how])


def mend(path: Path) -> None:
    os.chown(path, 0, 0)
    path.chmod(path.stat().st_mode & ~0o022)


def names_it(message: str, path: Path, how: str) -> None:
    assert str(path) in message
    assert "could use it to become root" in message
    if how == "owned":
        assert f"user id {NOBODY}" in message
        assert f"chown root: {path}" in message
    else:
        assert how in message
        assert f"(mode {path.stat().st_mode & 0o7777:04o})" in message
        assert f"chmod go-w {path}" in message


@pytest.mark.parametrize("how", ["owned", *WRITABLE])
@pytest.mark.parametrize("place", PLACES)
def test_a_start_refuses_what_another_user_could_change(daemon: NestedDaemon, place: str, how: str) -> None:
    path = PLACES[place](daemon)
    spoil(path, how)
    names_it(daemon.fail_to_start(), path, how)
    assert not daemon.socket.exists()
    assert place not in ("data root", "data root's parent") or os.listdir(daemon.data) == [], "nothing was written"
    mend(path)
    daemon.start()
    assert daemon.stop() == 0


@pytest.mark.parametrize("how", ["owned", *WRITABLE])
@pytest.mark.parametrize("place", READ)
def test_a_reload_refuses_what_another_user_could_change(daemon: NestedDaemon, place: str, how: str) -> None:
    before = daemon.start().resolve("w")
    path = PLACES[place](daemon)
    spoil(path, how)
    status, report = daemon.ask("POST", "/v1/reload")
    assert (status, report["outcome"]) == (422, "rejected")
    names_it(report["problems"][0]["message"], path, how)
    assert daemon.resolve("w") == before
    mend(path)
    wait_until(lambda: daemon.status()["health"]["status"] == "ok", "a change of mode or owner to be noticed")
    assert daemon.stop() == 0


# What lies below the roots after a first start and is believed or executed by the next one, or by runc.
BELOW: dict[str, Callable[[NestedDaemon], Path]] = {
    "VERSION": lambda d: d.data / "VERSION",
    "wrappers": lambda d: d.data / "wrappers",
    "links": lambda d: d.data / "links",
    "link directory": lambda d: d.data / "links/a",
    "parts": lambda d: d.data / "parts",
    "generations": lambda d: d.data / "generations",
    "generation": lambda d: d.data / "generations/00000001",
    "generation's configuration": lambda d: d.data / "generations/00000001/config.json",
    "generation's manifest": lambda d: d.data / "generations/00000001/manifest.json",
    "container states": lambda d: d.exec / "runtime-runc",
    "container states of a namespace": lambda d: d.exec / "runtime-runc/moby",
}


@pytest.mark.parametrize("what", BELOW)
def test_what_is_believed_below_the_roots_is_checked(daemon: NestedDaemon, what: str) -> None:
    daemon.start()
    assert daemon.stop() == 0
    (daemon.exec / "runtime-runc/moby").mkdir(parents=True)
    path = BELOW[what](daemon)
    for how in ("owned", "by everybody"):
        spoil(path, how)
        text = daemon.fail_to_start()
        assert f"{path}: " in text
        assert "could use it to become root" in text
        mend(path)
    if path.is_dir() and path.parent == daemon.data:
        # Nor is a way out taken: into the directory of a user.
        theirs = daemon.root / "theirs"
        path.rename(theirs)
        os.chown(theirs, NOBODY, NOBODY)
        path.symlink_to(theirs)
        assert f"{theirs}: belongs to user id {NOBODY}" in daemon.fail_to_start()
        mend(theirs)
        path.unlink()
        theirs.rename(path)
    daemon.start()
    assert daemon.resolve("w")["generation"] == 1, "all is as it was"
    assert daemon.stop() == 0


def test_a_change_of_mode_is_noticed_without_being_asked(daemon: NestedDaemon) -> None:
    daemon.start()
    daemon.config.chmod(0o666)
    wait_until(lambda: daemon.reloads("rejected"), "the rejection")
    assert "mode 0666" in daemon.reloads("rejected")[0]["problems"][0]


def test_a_link_that_another_user_owns_is_refused_and_roots_own_is_followed(daemon: NestedDaemon) -> None:
    real = daemon.config.with_name("real.json")
    daemon.config.rename(real)
    daemon.config.symlink_to(real)
    daemon.start()
    assert daemon.stop() == 0
    os.chown(daemon.config, NOBODY, NOBODY, follow_symlinks=False)
    text = degraded(daemon)
    assert f"{daemon.config}: is a symbolic link that belongs to user id {NOBODY}" in text
    assert f"chown -h root: {daemon.config}" in text


def degraded(daemon: RunningDaemon) -> str:
    """Start on the last good generation, and return what is wrong."""
    daemon.start()
    health = daemon.status()["health"]
    daemon.stop()
    assert health["status"] == "degraded"
    return str(health["reasons"]["configuration"])


def test_what_is_roots_own_in_a_sticky_directory_is_accepted(daemon: NestedDaemon) -> None:
    for place in (daemon.config.parent, daemon.data.parent, daemon.exec.parent, daemon.socket.parent.parent):
        place.chmod(0o1777)
    assert daemon.start().resolve("w")
    assert daemon.stop() == 0


@pytest.mark.parametrize("place", ["data root", "exec root", "socket's directory"])
def test_a_sticky_directory_is_no_place_of_roots_own(daemon: NestedDaemon, place: str) -> None:
    # Others could make names in it that nobody but they could remove.
    path = PLACES[place](daemon)
    path.chmod(0o1777)
    assert str(path) in (text := daemon.fail_to_start())
    assert "mode 1777" in text


def test_missing_directories_are_made_that_only_root_may_change(
    daemon: NestedDaemon,
) -> None:
    for directory in (daemon.data, daemon.exec, daemon.socket.parent):
        directory.rmdir()
        directory.parent.rmdir()
    old = os.umask(0)
    try:
        daemon.start()
    finally:
        os.umask(old)
    modes = {d: d.stat().st_mode & 0o7777 for d in (daemon.data, daemon.data.parent, daemon.exec, daemon.socket.parent)}
    assert modes == {daemon.data: 0o711, daemon.data.parent: 0o755, daemon.exec: 0o755, daemon.socket.parent: 0o755}
    for path in daemon.data.rglob("*"):
        # Other users may execute a stable path.
        others = 0o011 if path.is_dir() else 0o055 if path.parent.name == "wrappers" else 0
        assert path.is_symlink() or path.stat().st_mode & 0o077 == others, path
    assert daemon.socket.stat().st_mode & 0o7777 == 0o660
    assert daemon.stop() == 0


class ContainedDaemon(RunningDaemon):
    """A daemon that is process 1 of namespaces like a container's, where ``script`` has mounted what it needs.

    The script finds the directory of the test in ``$1``.
    """

    def __init__(self, root: Path, script: str) -> None:
        namespaces = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
        prepared = ("sh", "-ec", f'{script}\nshift; exec "$@"', "sh", str(root))
        super().__init__(root, ("unshare", *namespaces, *prepared))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the daemon itself: unshare(1) waits for it and passes no signal on."""
        assert self.process is not None
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        os.kill(int(children[0]), number)
        return self.process.wait(PATIENCE_S)


# The kubelet writes the volume, mode 0777, from outside; the container has it read-only, and has no other way to it.
VOLUME = """
mount --bind "$1/volume" "$1/mount"; mount -o remount,bind,ro "$1/mount"
umount "$1/volume"
"""


@pytest.fixture
def volume() -> Iterator[Path]:
    """A file system for a ConfigMap, in a directory for a test."""
    with short_directory() as root:
        root.chmod(0o755)
        for name in ("volume", "mount"):
            (root / name).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777", "none", root / "volume"], check=True)
        try:
            yield root / "volume"
        finally:
            subprocess.run(["umount", root / "volume"], check=True)


def test_a_config_map_on_a_read_only_mount_is_accepted_and_its_swap_noticed(volume: Path) -> None:
    # daemon.json -> ..data/daemon.json, ..data -> ..2024_1, which is swapped by rename.
    populate(volume, "1", "first")
    (volume / "daemon.json").symlink_to("..data/daemon.json")
    daemon = ContainedDaemon(volume.parent, VOLUME)
    daemon.config = volume.parent / "mount" / "daemon.json"
    with daemon.running():
        assert args(daemon) == ["first"]
        populate(volume, "2", "second")
        wait_until(lambda: args(daemon) == ["second"], "the swap to be noticed")
        # Write bits do not count on it, ownership does.
        os.chown(volume / "..2024_2" / "daemon.json", NOBODY, NOBODY)
        report = daemon.reload()
        assert report["outcome"] == "rejected"
        assert f"user id {NOBODY}" in report["problems"][0]["message"]
        assert "chown" not in report["problems"][0]["message"], "no command can work on it"
        populate(volume, "3", "third")
        wait_until(lambda: args(daemon) == ["third"], "the swap to be noticed")
        assert daemon.stop() == 0


def test_a_volume_that_process_1_could_write_is_refused(volume: Path) -> None:
    populate(volume, "1", "first")
    (volume / "daemon.json").symlink_to("..data/daemon.json")
    daemon = ContainedDaemon(volume.parent, VOLUME.replace("umount", ": "))
    daemon.config = volume.parent / "mount" / "daemon.json"
    assert f"chmod go-w {volume.parent}/mount" in daemon.fail_to_start()
    # Nor does a container of another process 1 tell: a pod that shares its process namespace, say.
    namespaces = ("unshare", "--mount", "--propagation", "private", "sh", "-ec")
    daemon.command = [*namespaces, f'{VOLUME}\nshift; exec "$@"', "sh", str(volume.parent)]
    assert "it is read-only for this process, but perhaps not for others" in daemon.fail_to_start()


def test_a_read_only_tmpfs_that_everybody_could_write_is_accepted() -> None:
    with new_daemon() as daemon:
        mount = daemon.root / "mount"
        mount.mkdir()
        daemon.write(TABLE)
        daemon.config.chmod(0o666)
        script = (
            'mount -t tmpfs -o mode=0777 none "$1" && cp -p "$0" "$1/daemon.json" && mount -o remount,ro "$1" && '
            'shift && exec "$@"'
        )
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]
        daemon.command = [*command, str(daemon.config), str(mount)]
        daemon.config = mount / "daemon.json"
        assert daemon.start().resolve("w")
        assert daemon.status()["health"]["status"] == "ok"
        assert daemon.stop() == 0


def populate(volume: Path, number: str, argument: str) -> None:
    """Write the volume's next state and swap it in, as the kubelet's atomic writer does."""
    state = volume / f"..2024_{number}"
    state.mkdir()
    state.chmod(0o777)
    runtimes = {"w": {"path": "/bin/echo", "runtimeArgs": [argument]}}
    (state / "daemon.json").write_text(json.dumps({"runtimes": runtimes}))
    (state / "daemon.json").chmod(0o666)
    temporary = volume / "..data_tmp"
    temporary.symlink_to(state.name)
    temporary.rename(volume / "..data")


def args(daemon: RunningDaemon) -> list[str]:
    return list(daemon.get("/v1/runtimes/w")[1]["definition"]["runtimeArgs"])


# Asks as another user: imports first, because that user may not be able to read the interpreter's files.
CLIENT = r"""
import json, os, socket, sys
path, uid, gid, method, target = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
os.setgroups([]); os.setresgid(gid, gid, gid); os.setresuid(uid, uid, uid)
client = socket.socket(socket.AF_UNIX)
client.settimeout(60)
try:
    client.connect(path)
except OSError as error:
    print(json.dumps([error.errno, None]))
    sys.exit()
client.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
answer = b"".join(iter(lambda: client.recv(65536), b""))
head, _, body = answer.partition(b"\r\n\r\n")
print(json.dumps([int(head.split()[1]), json.loads(body)]))
"""


def ask_as(daemon: NestedDaemon, uid: int, gid: int, method: str, target: str) -> list[object]:
    command = [*daemon.enter(), sys.executable, "-c", CLIENT, str(daemon.socket), str(uid), str(gid), method, target]
    output = subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S).stdout
    return list(json.loads(output))


def test_a_member_of_the_group_may_ask_and_not_change_and_others_may_not_even_ask(daemon: NestedDaemon) -> None:
    daemon.start("--group", str(GROUP))
    assert daemon.socket.stat().st_gid == GROUP
    for target in ("/v1/resolve?runtime=w", "/v1/runtimes", "/v1/runtimes/w", "/v1/status", "/healthz"):
        assert ask_as(daemon, NOBODY, GROUP, "GET", target)[0] == 200, target
    assert ask_as(daemon, NOBODY, GROUP, "GET", "/v1/resolve?runtime=w")[1] == daemon.resolve("w")
    before = reloads(daemon)
    for target in ("/v1/reload", "/v1/reload?dry_run=true"):
        status, problem = ask_as(daemon, NOBODY, GROUP, "POST", target)
        assert isinstance(problem, dict)
        assert (status, problem["code"]) == (403, "forbidden")
        assert "only root may do this" in problem["detail"]
    assert reloads(daemon) == before, "nothing was done for whoever may not ask for it"
    assert ask_as(daemon, NOBODY, NOBODY, "GET", "/v1/status") == [13, None]
    # Root's own request is carried out, and who made it is logged.
    assert ask_as(daemon, 0, 0, "POST", "/v1/reload")[0] == 200
    (requested,) = [event for event in daemon.log() if event["event"] == "reload.requested"]
    assert (requested["uid"], requested["dry_run"]) == (0, False)
    assert requested["pid"] > 1
    assert daemon.stop() == 0


def reloads(daemon: RunningDaemon) -> list[dict[str, object]]:
    """Return what was logged about reloads; other events may be late ones of the start."""
    return [event for event in daemon.log() if str(event["event"]).startswith("reload.")]


def test_a_group_that_does_not_exist_is_refused(daemon: NestedDaemon) -> None:
    text = daemon.fail_to_start("--group", "no-such-group")
    assert "no-such-group" in text
    assert "groupadd" in text
    assert not daemon.socket.exists()
