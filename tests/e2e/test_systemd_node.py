"""The service in its box, under a really booted systemd: what it sees of the node, and who may ask it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.harness.installed import (
    ADDRESS,
    BROKEN,
    BROKEN_AT,
    ROOTFS,
    SERVICE,
    SOCKET,
    TABLE,
    Installed,
    build_rootfs,
    new_installation,
)
from harness.daemon import wait_until

pytestmark = pytest.mark.timeout(1200)
MEMBER, STRANGER = "member", "stranger"
UNITS = "/usr/local/lib/systemd"
# Where systemd says that a service is well boxed in.
EXPOSURE_MOST = 1.5
# For Prometheus; of no use to a user's daemon.
METRICS, TEXTFILE = "runtimed-metrics", "runtimed-textfile"
PROMETHEUS = (f"{METRICS}.socket", f"{METRICS}.service", f"{TEXTFILE}.timer", f"{TEXTFILE}.service")
ORPHAN = "orphan-" + "0" * 32


@pytest.fixture(scope="module")
def installation() -> Iterator[Installed]:
    with new_installation() as node:
        for user in (MEMBER, STRANGER):
            node.run("useradd", "--create-home", "--user-group", user)
        node.run("usermod", "-aG", "runtimed", MEMBER)
        node.machine.let_containers_run()
        node.systemctl("unmask", "containerd.service")
        node.systemctl("start", "containerd.service")
        build_rootfs(node)
        yield node


@pytest.fixture
def node(installation: Installed) -> Installed:
    """The service as every test finds it: running, well, with the table of these tests."""
    installation.mend()
    return installation


def features(node: Installed, name: str) -> dict[str, Any]:
    """Return what is known of a runtime's features once it has been asked for them."""

    def found() -> dict[str, Any] | None:
        told = node.client().explain(name).get("features")
        return dict(told) if told and told["status"] != "pending" else None

    return dict(wait_until(found, f"the features of {name}: {node.client().explain(name)}"))


def test_units_are_free_of_faults_and_the_service_is_boxed_in(node: Installed) -> None:
    for manager, user in (("system", []), ("user", ["--user"])):
        units = [f"{UNITS}/{manager}/{unit}" for unit in (SERVICE, SOCKET, *(() if user else PROMETHEUS))]
        done = node.run("env", "XDG_RUNTIME_DIR=/run", "systemd-analyze", *user, "verify", *units)
        assert done.stdout + done.stderr == "", manager
    # As it is loaded, and by the file alone, which counts settings that systemd takes for granted of a running unit.
    for unit in (SERVICE, f"{METRICS}.service", f"{TEXTFILE}.service"):
        for words in ((unit,), ("--offline=true", f"{UNITS}/system/{unit}")):
            said = node.run("systemd-analyze", "security", "--no-pager", *words).stdout
            found = re.search(rf"Overall exposure level for {re.escape(unit)}: ([0-9.]+)", said)
            assert found is not None, said
            sys.stdout.write(f"exposure of {unit}: {found[1]} of 10\n")
            assert float(found[1]) <= EXPOSURE_MOST, words


def test_prometheus_may_read_by_a_port_and_change_nothing(node: Installed) -> None:
    curl = ("curl", "-sS", "http://127.0.0.1:9742")
    node.systemctl("start", f"{METRICS}.socket")
    assert "\nruntimed_config_last_reload_successful 1.0\n" in node.run(*curl[:2], f"{curl[2]}/metrics").stdout
    refused = node.run(*curl[:2], "-X", "POST", f"{curl[2]}/v1/reload").stdout
    assert json.loads(refused)["code"] == "forbidden"
    assert node.run("stat", "-c", "%u", f"/proc/{node.show('MainPID', f'{METRICS}.service')}").stdout != "0\n"
    # A scrape does not start a daemon that an administrator stopped.
    node.systemctl("stop", SOCKET, SERVICE)
    node.run(*curl[:2], f"{curl[2]}/metrics", status=None)
    assert node.state() == "inactive (dead)"
    node.systemctl("stop", f"{METRICS}.socket", f"{METRICS}.service")


def test_a_timer_writes_the_file_for_node_exporter(node: Installed) -> None:
    file = "/var/lib/prometheus/node-exporter/runtimed.prom"
    node.systemctl("start", f"{TEXTFILE}.timer")
    wait_until(lambda: node.run("test", "-e", file, status=None).returncode == 0, "the file")
    assert node.run("stat", "-c", "%a %U", file).stdout == "644 root\n"
    assert node.run("cat", file).stdout.endswith("\nruntimed_up 1\n")
    wait_until(lambda: node.state(f"{TEXTFILE}.timer") == "active (waiting)", "the timer to wait for the next time")
    # A run that is stopped while it waits for the daemon has not failed.
    node.systemctl("kill", "-s", "STOP", SERVICE)
    node.systemctl("start", "--no-block", f"{TEXTFILE}.service")
    wait_until(lambda: node.state(f"{TEXTFILE}.service").startswith("activating"), "a run")
    node.systemctl("stop", f"{TEXTFILE}.timer", f"{TEXTFILE}.service")
    node.systemctl("kill", "-s", "CONT", SERVICE)
    assert node.state(f"{TEXTFILE}.service") == "inactive (dead)"
    node.systemctl("stop", SOCKET, SERVICE)
    node.systemctl("start", f"{TEXTFILE}.service")
    assert node.run("cat", file).stdout.splitlines()[2:] == ["runtimed_up 0"]
    assert node.state() == "inactive (dead)"
    # A line for a daemon that does not answer, and none for each of the many runs.
    wait_until(lambda: node.machine.journal(f"{TEXTFILE}.service"), "a line in the journal")
    [line] = node.machine.journal(f"{TEXTFILE}.service").splitlines()
    assert line.endswith("; runtimed_up is 0")


@pytest.mark.parametrize("driver", ["systemd", "cgroupfs"])
def test_runtimes_are_tested_by_each_engine_with_each_cgroup_driver_and_leave_nothing(
    node: Installed, driver: str
) -> None:
    node.write({**TABLE, "exec-opts": [f"native.cgroupdriver={driver}"]})
    node.systemctl("reload", SERVICE)
    for engine in ("direct", "containerd"):
        (evidence,) = json.loads(node.ctl("test", "wrapped", "--engine", engine, "--json"))["tests"]
        assert (evidence["engine"], evidence["failure"], evidence["leftovers"]) == (engine, None, [])
        # Other directories come and go meanwhile.
        find = f"find /run /sys/fs/cgroup /var/lib/containerd -ignore_readdir_race -name '*{evidence['id']}*'"
        assert node.run("sh", "-c", f"{find} -not -path '/run/user/*'").stdout == ""
    assert node.run("ctr", "namespaces", "ls", "-q").stdout.split() in ([], ["default"])


def test_a_mount_that_the_host_makes_later_is_seen_by_the_service(node: Installed) -> None:
    node.run("mkdir", "-p", "/opt/late")
    node.write({"runtimes": {**TABLE["runtimes"], "late": {"path": "/opt/late/runc"}}})
    node.systemctl("reload", SERVICE)
    assert node.client().explain("late")["available"] is False
    node.run("mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/opt/late")
    try:
        # By one rename, because half a binary would be probed as well.
        node.run("cp", "/usr/sbin/runc", "/opt/late/new")
        node.run("mv", "/opt/late/new", "/opt/late/runc")
        wait_until(lambda: node.client().explain("late")["available"], "the mount to be seen")
        # It came after the daemon's own view had been made, so it is not read-only there; its owner still counts.
        assert features(node, "late")["status"] == "known"
        node.run("chmod", "0777", "/opt/late")
        assert "/opt/late: can be changed" in str(node.client().explain("late")["replaceable"])
    finally:
        node.run("umount", "/opt/late")
    wait_until(lambda: not node.client().explain("late")["available"], "the end of the mount to be seen")


def test_a_file_system_that_is_read_only_for_all_is_taken_with_its_modes(node: Installed) -> None:
    node.run("mkdir", "-p", "/opt/image")
    node.run("mount", "-t", "tmpfs", "-o", "mode=0777", "none", "/opt/image")
    try:
        node.run("cp", "/usr/sbin/runc", "/opt/image/runc")
        node.write({"runtimes": {**TABLE["runtimes"], "image": {"path": "/opt/image/runc"}}})
        node.systemctl("reload", SERVICE)
        assert "/opt/image: can be changed" in str(node.client().explain("image")["replaceable"])
        node.run("mount", "-o", "remount,ro", "/opt/image")
        assert node.client().explain("image")["replaceable"] is None
        node.run("mount", "-o", "remount,rw", "/opt/image")
        assert node.client().explain("image")["replaceable"] is not None
        # The mount is read-only, and not its file system. The service sees that from its next start on, and sees in the
        # mounts of process 1 that it is no doing of its unit's.
        node.run("mount", "-o", "remount,bind,ro", "/opt/image")
        node.systemctl("restart", SERVICE)
        assert node.client().explain("image")["replaceable"] is None
        assert features(node, "image")["status"] == "known"
        # A second mount of it that can be written is made elsewhere.
        node.run("mkdir", "-p", "/opt/second")
        node.run("mount", "--bind", "/opt/image", "/opt/second")
        try:
            node.run("mount", "-o", "remount,bind,rw", "/opt/second")
            assert "for this process" in str(node.client().explain("image")["replaceable"])
        finally:
            node.run("umount", "/opt/second")
        assert node.client().explain("image")["replaceable"] is None
    finally:
        node.run("umount", "/opt/image")


@pytest.mark.parametrize(("name", "path"), [("runc", "runc"), ("crun", "/usr/bin/crun"), ("gvisor", "/usr/bin/runsc")])
def test_a_runtime_says_of_its_features_in_the_box_what_it_says_outside(node: Installed, name: str, path: str) -> None:
    plain = node.run(path, "features", status=None)
    found = features(node, name)
    sys.stdout.write(f"{name}: {found['status']} {found.get('reason') or ''}\n")
    assert found["status"] == ("known" if plain.returncode == 0 else "unknown")
    if plain.returncode != 0:
        # The binary's own words, and no signal: a system call that it must not make is refused, and not its death.
        assert f"ended with exit status {plain.returncode}" in found["reason"]
    # It is asked for its version as well, by a binary that knows no features.
    assert found["status"] == "known" or found["version"]
    log = "\n".join(line.text for line in node.journal())
    assert not re.search(r"SIGSYS|signal 31|core-dump|Traceback", log), log


@pytest.mark.parametrize("directory", ["/root/bin", f"/home/{STRANGER}/bin", "/tmp/bin", "/var/tmp/bin"])
def test_a_runtime_is_found_where_only_its_owner_may_look(node: Installed, directory: str) -> None:
    path = f"{directory}/my-runc"
    node.run("mkdir", "-m", "0700", directory)
    node.run("cp", "/usr/sbin/runc", path)
    if STRANGER in directory:
        node.run("chown", "-R", f"{STRANGER}:", directory)
    node.run("chmod", "0700", path)
    node.write({"runtimes": {**TABLE["runtimes"], "mine": {"path": path}}})
    node.systemctl("reload", SERVICE)
    found = next(one for one in node.client().runtimes()["runtimes"] if one["name"] == "mine")
    assert found["available"] is True, found
    told = features(node, "mine")
    sys.stdout.write(f"{path}: {told['status']} {told.get('reason') or ''}\n")
    assert told["status"] == "known" or "permission" not in told["reason"].lower(), told


def test_podman_of_a_user_without_root_has_the_names_also_after_an_upgrade(node: Installed) -> None:
    data, rootfs, home = "/var/lib/runtimed", f"/home/{STRANGER}/rootfs", f"/home/{STRANGER}"
    node.write({**TABLE, "default-runtime": "crun"})
    node.systemctl("reload", SERVICE)
    generation = node.run("readlink", f"{data}/runtimes").stdout.strip().rpartition("/")[0]
    directories = [data, *(f"{data}/{name}" for name in ("generations", "wrappers", generation))]
    node.ctl("export", "podman", "--write")
    node.run("cp", "-a", ROOTFS, rootfs)
    node.run("chown", "-R", f"{STRANGER}:", rootfs)
    # Debian's podman only recommends the program that gives a user more than one id.
    node.run("truncate", "--size=0", "/etc/subuid", "/etc/subgid")
    options = ("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
    podman = ("env", f"HOME={home}", f"XDG_RUNTIME_DIR={home}", "podman", *options)

    def podman_run(status: int) -> str:
        # A machine of systemd-nspawn has no sysctl of a new network namespace that podman could set. The exit status
        # tells that it runs: on a busy machine podman may lose the output.
        words = ("run", "--rm", "--network", "host", "--rootfs", rootfs, "/bin/sh", "-c", "exit 42")
        return node.run(*podman, *words, status=status, user=STRANGER).stderr

    podman_run(status=42)
    # As an earlier version made them.
    node.run("sh", "-c", f'chmod 0700 "$@" {data}/wrappers/*', "sh", *directories)
    assert 'default OCI runtime "crun" not found' in podman_run(status=125)
    node.systemctl("restart", SERVICE)
    assert set(node.run("stat", "--format=%a", *directories).stdout.split()) == {"711"}
    podman_run(status=42)
    path = node.run(*podman, "info", "--format", "{{.Host.OCIRuntime.Path}}", user=STRANGER).stdout
    assert path == f"{data}/runtimes/crun\n"
    for refused in (("ls", data), ("cat", f"{data}/{generation}/config.json"), ("ls", "/run/runtimed/pins")):
        assert "Permission denied" in node.run(*refused, status=None, user=STRANGER).stderr, refused
    assert not [line for line in node.journal() if "store.recovered" in line.text]


def test_processes_of_whomever_are_seen_and_nothing_is_unknown(node: Installed) -> None:
    wrappers = "/var/lib/runtimed/wrappers"
    path = f"{wrappers}/{ORPHAN}"
    node.run("sh", "-c", f'umask 077; echo "#!/bin/sh" > {path}')
    for user in (None, STRANGER):
        becoming = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        process = node.machine.start(*becoming, "sh", "-c", "read forever", path)
        try:
            wait_until(lambda: verdict(node, path).endswith("refers to it"), f"a process: {verdict(node, path)}")
            assert "process" in verdict(node, path)
        finally:
            process.communicate("")
        wait_until(lambda: verdict(node, path).startswith("nothing refers to it"), "nothing refers to it")
    node.run("rm", path)


def test_a_shim_of_a_containerd_that_is_not_configured_is_seen_in_its_bundle(node: Installed) -> None:
    path, bundle = f"/var/lib/runtimed/wrappers/{ORPHAN}", "/run/elsewhere/bundle"
    node.run(
        "sh", "-c", f'umask 077; echo "#!/bin/sh" > {path}; mkdir -p {bundle}; printf %s {path} > {bundle}/runtime'
    )
    # With all rights of root, which the service has not.
    waiting = "exec -a containerd-shim-runc-v2 /usr/bin/python3 -c 'import sys; sys.stdin.read()'"
    shim = f"cd {bundle}; {waiting} -namespace n -id i -address /run/elsewhere/c.sock"
    process = node.machine.start("bash", "-c", shim)
    try:

        def is_named() -> bool:
            said = json.loads(node.ctl("gc", "--dry-run", "--json"))["unknown"]
            wanted = "the containerd at /run/elsewhere/c.sock uses wrappers but is not configured"
            return len(said) == 1 and said[0].startswith(wanted)

        wait_until(is_named, f"a containerd that is not configured: {node.ctl('gc', '--dry-run', '--json')}")
    finally:
        process.communicate("")
    node.run("rm", "-r", path, "/run/elsewhere")


def verdict(node: Installed, path: str) -> str:
    """Return what is said of a wrapper, by somebody who knows of every process and every container."""
    document = known(node)
    return str(next(one["reason"] for one in document["wrappers"] if path.endswith(one["file"])))


def known(node: Installed) -> dict[str, Any]:
    """Return the answer to a dry run for which everything was known."""

    def scan() -> dict[str, Any] | None:
        document: dict[str, Any] = json.loads(node.ctl("gc", "--dry-run", "--json"))
        return document if document["unknown"] == [] else None

    # Processes and containers come and go meanwhile.
    return dict(wait_until(scan, f"everything to be known: {node.ctl('gc', '--dry-run', '--json')}"))


def test_a_container_started_through_a_resolution_outlives_the_service(
    node: Installed,
) -> None:
    answer = node.ctl("resolve", "wrapped", "--format", "ctr").split()
    wrapper = answer[answer.index("--runc-binary") + 1]
    root = answer[answer.index("--runc-root") + 1]
    assert (wrapper.startswith("/var/lib/runtimed/wrappers/"), root) == (True, "/run/runtimed/runtime-runc")
    node.run("ctr", "run", "--detach", *answer, "--rootfs", ROOTFS, "c1", "/bin/sleep", "1000")
    numbers = iter(range(100))

    def is_manageable() -> None:
        name = f"x{next(numbers)}"
        # Its status tells: on a busy machine ctr may lose the output.
        node.run("ctr", "tasks", "exec", "--exec-id", name, "c1", "/bin/sh", "-c", "exit 42", status=42)
        assert re.search(r"^c1 +[0-9]+ +RUNNING", node.run("ctr", "tasks", "ls").stdout, re.MULTILINE)

    def remove_the_runtime() -> None:
        node.write({})
        node.systemctl("reload", SERVICE)

    def reinstall() -> None:
        node.install()

    is_manageable()
    known(node)
    done: list[tuple[str, Any]] = [
        ("reload", remove_the_runtime),
        ("restart", lambda: node.systemctl("restart", SERVICE)),
        ("kill", node.kill),
        ("installed again", reinstall),
        ("stop", lambda: node.systemctl("stop", SERVICE, SOCKET)),
    ]
    for what, do in done:
        do()
        sys.stdout.write(f"after {what}\n")
        is_manageable()
    assert node.state() == "inactive (dead)"
    node.run("ctr", "tasks", "kill", "--signal", "KILL", "c1")
    wait_until(lambda: "STOPPED" in node.run("ctr", "tasks", "ls").stdout, "the end of the container")
    node.run("ctr", "tasks", "rm", "c1")
    node.run("ctr", "containers", "rm", "c1")


def test_members_of_the_group_may_ask_and_only_root_may_reload(node: Installed) -> None:
    refused = node.ctl("resolve", "wrapped", status=2, user=STRANGER)
    assert "permission denied: it is for the group runtimed (mode 0660)" in refused
    assert "hint: join that group (sudo usermod -aG runtimed USER, then log in again), or ask as root (sudo)" in refused
    assert node.ctl("resolve", "wrapped", user=MEMBER) == node.ctl("resolve", "wrapped")
    for verb in ("reload", "gc"):
        assert "root" in node.ctl(verb, status=1, user=MEMBER)
    asked = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", ADDRESS, "-X", "POST"]
    assert node.run(*asked, "http://runtimed/v1/reload", user=MEMBER).stdout == "403"


def test_without_the_daemon_root_and_members_of_the_group_read_the_table_file(node: Installed) -> None:
    file = "/run/runtimed/table.json"
    before = node.answers()
    node.systemctl("stop", SERVICE, SOCKET)
    assert node.run("stat", "-c", "%a %U:%G", file).stdout == "640 root:runtimed\n"
    for user in (None, MEMBER):
        for name in before:
            told = node.run("runtimectl", "resolve", name, "--json", user=user)
            assert json.loads(told.stdout) == {**before[name], "from": "file"}  # type: ignore[dict-item]
            assert told.stderr.startswith(f"note: no daemon responds on {ADDRESS}; this is generation ")
    refused = node.ctl("resolve", "wrapped", status=2, user=STRANGER)
    assert f"there is no such socket; {file} cannot be read: Permission denied" in refused
    node.run("chmod", "0666", file)
    assert f"{file} is not used: other users can write it (mode 0666)" in node.ctl("resolve", "wrapped", status=2)
    node.systemctl("start", SERVICE)
    # It was written before the service was ready.
    assert node.run("stat", "-c", "%a %U:%G", file).stdout == "640 root:runtimed\n"
    assert node.answers() == before


def test_without_the_group_the_file_is_roots_alone_and_the_journal_has_the_remedy(node: Installed) -> None:
    file = "/run/runtimed/table.json"
    mark = node.mark()
    with node.dropin("SupplementaryGroups="):
        node.systemctl("restart", SERVICE)
        assert node.run("stat", "-c", "%a %U:%G", file).stdout == "600 root:root\n"
        gid = node.run("stat", "-c", "%g", ADDRESS).stdout.strip()
        line = node.said(mark, "table.private")
        assert (line.priority, f"SupplementaryGroups={gid}" in line.text) == (4, True)
        assert node.client().status()["health"]["status"] == "ok"
        # The line that it names is enough.
    with node.dropin(f"SupplementaryGroups=\nSupplementaryGroups={gid}"):
        node.systemctl("restart", SERVICE)
        assert node.run("stat", "-c", "%a %U:%G", file).stdout == "640 root:runtimed\n"
    node.systemctl("restart", SERVICE)


def test_the_journal_shows_a_rejection_to_whoever_looks_for_errors(node: Installed) -> None:
    mark = node.mark()
    node.write(BROKEN)
    node.systemctl("reload", SERVICE, status=1)
    node.said(mark, "reload.rejected")
    shown = node.machine.journal(SERVICE, "-p", "err", f"_PID={node.pid()}").splitlines()
    assert shown[-1].startswith("reload.rejected ")
    assert BROKEN_AT in shown[-1]


def test_a_user_has_a_service_of_their_own(node: Installed) -> None:
    uid = node.run("id", "-u", STRANGER).stdout.strip()
    own = f"/run/user/{uid}"
    environ = ("env", f"XDG_RUNTIME_DIR={own}", f"HOME=/home/{STRANGER}")
    node.systemctl("start", f"user@{uid}.service")

    def mine(*words: str, status: int = 0) -> str:
        return node.run(*environ, *words, status=status, user=STRANGER).stdout

    mine("systemctl", "--user", "enable", "--now", SERVICE)
    assert mine("systemctl", "--user", "is-active", SERVICE, SOCKET).split() == ["active", "active"]
    assert f"on {own}/runtimed/runtimed.sock" in mine("runtimectl", "version")
    assert mine("runtimectl", "resolve", "runc", "--format", "ctr").split()[-1] == f"{own}/runtimed/runtime-runc"
    mine("systemctl", "--user", "reload", SERVICE)
    mine("systemctl", "--user", "restart", SERVICE)
    mine("systemctl", "--user", "stop", SERVICE)
    # A connection starts it again.
    mine("runtimectl", "list")
    assert mine("systemctl", "--user", "is-active", SERVICE) == "active\n"
    # An upgrade takes nothing from under it: what is imported late is still there.
    node.install()
    scrape = ("curl", "-sf", "--unix-socket", f"{own}/runtimed/runtimed.sock", "http://runtimed/metrics")
    assert "runtimed_generation" in mine(*scrape)
    mine("systemctl", "--user", "restart", SERVICE)
    mine("systemctl", "--user", "stop", SERVICE, SOCKET)
    mine("test", "!", "-e", f"{own}/runtimed/runtimed.sock")
    # The table file stays, and answers for the daemon that is stopped.
    told = node.run(*environ, "runtimectl", "resolve", "runc", "--format", "ctr", user=STRANGER)
    assert told.stdout.split()[-1] == f"{own}/runtimed/runtime-runc"
    assert f"no daemon responds on {own}/runtimed/runtimed.sock" in told.stderr
    mine("rm", f"{own}/runtimed/table.json")
    # Without a daemon of their own the user's client goes to the node's, which is for a group.
    assert (
        f"on {ADDRESS}: permission denied" in node.run(*environ, "runtimectl", "list", status=2, user=STRANGER).stderr
    )
    # The system's service is as it was.
    assert node.client().status()["data_root"] == "/var/lib/runtimed"
    node.systemctl("stop", f"user@{uid}.service")


def test_at_boot_it_is_ready_before_containerd_begins_and_it_stops_after_it(node: Installed) -> None:
    node.systemctl("enable", "containerd.service")
    node.machine.shut_down()
    node.machine.boot()
    node.settle()
    wait_until(lambda: node.show("ActiveState", "containerd.service") == "active", "containerd")
    ready_usec = int(node.show("ActiveEnterTimestampMonotonic"))
    assert 0 < ready_usec <= int(node.show("InactiveExitTimestampMonotonic", "containerd.service"))
    journal = node.run("journalctl", "-b", "-1", "-o", "cat", "--no-pager").stdout.splitlines()
    stopped = [line for line in journal if line.startswith("Stopped ") and re.search("containerd|runtimed", line)]
    assert len(stopped) >= 2
    assert "containerd" in stopped[-2]
    assert "runtimed" in stopped[-1]
