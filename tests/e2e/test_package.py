"""The Debian package: built by its one command, then installed, upgraded, removed and purged under a real systemd."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.harness.booted import CHECKOUT, Booted, new_machine
from harness.daemon import put, short_directory
from harness.documents import PAGES

pytestmark = pytest.mark.timeout(1800)

BUILDER = CHECKOUT / "systemd/build-deb"
PROGRAM = "usr/lib/runtimed/program"
NEWER = "9.9.9"
# Away from /tmp, which is the machine's own.
INSIDE = "/var/tmp"
COMPLETIONS = {
    "bash": "bash-completion/completions/runtimectl",
    "zsh": "zsh/vendor-completions/_runtimectl",
    "fish": "fish/vendor_completions.d/runtimectl.fish",
}
CONFIGURATION = {"runtimes": {"boxed": {"path": "/usr/bin/runc", "runtimeArgs": ["--debug"]}}}
CLIENTS = 20
SYNC = "runtimed-sync@.service"
TEXTFILE = "/var/lib/prometheus/node-exporter/runtimed.prom"
PROMETHEUS = ("runtimed-textfile.timer", "runtimed-metrics.socket")
# Runs inside the machine with the package's own client until its standard input ends.
ASKING = f"""
import json, socket, sys, threading, time
from runtimed.client import Client

answers, failures, digests, slowest = [], [], set(), [0.0]
stop = threading.Event()

def ask():
    client = Client(timeout_s=60)
    while not stop.is_set():
        begun = time.monotonic()
        try:
            found = client.resolve("boxed")
            digests.add((found["digest"], found.get("from")))
            answers.append(1)
        except Exception as exc:
            failures.append(repr(exc))
        slowest[0] = max(slowest[0], time.monotonic() - begun)
        time.sleep(0.01)

threads = [threading.Thread(target=ask) for _ in range({CLIENTS})]
for thread in threads:
    thread.start()
print("asking", flush=True)
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
print(json.dumps([len(answers), failures, sorted(digests), slowest[0]]))
"""


@dataclass(frozen=True, slots=True)
class Packages:
    """What was built, and what a later version of it could look like."""

    first: Path
    # The same program, packaged anew.
    newer: Path
    # A program with another version, a prometheus_client of no use to an old daemon, and another default configuration.
    foreign: Path
    unpacked: Path
    build_s: float


@pytest.fixture(scope="module")
def packages() -> Iterator[Packages]:
    with short_directory() as directory:
        begun_s = time.monotonic()
        built = subprocess.run([BUILDER, directory], capture_output=True, text=True, check=False)
        assert built.returncode == 0, (built.stdout + built.stderr)[-5000:]
        build_s = time.monotonic() - begun_s
        [first] = directory.glob("*.deb")
        unpacked = directory / "first"
        subprocess.run(["dpkg-deb", "-R", first, unpacked], check=True)
        newer = repack(unpacked, directory / "newer.deb", NEWER, lambda _: None)
        foreign = repack(unpacked, directory / "foreign.deb", NEWER, make_foreign)
        yield Packages(first, newer, foreign, unpacked, build_s)


@pytest.fixture
def machine() -> Iterator[Booted]:
    with new_machine() as machine:
        # What keeps a container image's packages from starting anything.
        (machine.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        # The port of runtimed-metrics.socket may be that of another machine of these tests.
        machine.options = ("--private-network",)
        machine.boot()
        yield machine


def repack(unpacked: Path, target: Path, version: str, change: Callable[[Path], None]) -> Path:
    """Return a package with another version, and with a ``change``."""
    root = target.with_suffix("")
    shutil.copytree(unpacked, root, symlinks=True)
    control = root / "DEBIAN/control"
    fields = control.read_text().splitlines()
    control.write_text("".join(f"Version: {version}\n" if f.startswith("Version:") else f"{f}\n" for f in fields))
    change(root)
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", root, target], check=True, capture_output=True)
    shutil.rmtree(root)
    return target


def make_foreign(root: Path) -> None:
    rewrite(find_packages(root) / "runtimed/__init__.py", f'__version__ = "{NEWER}"\n')
    rewrite(find_packages(root) / "prometheus_client/core.py", "raise SystemError('not for you')\n")
    (root / "etc/runtimed/daemon.json").write_text('{"default-runtime": "runc"}\n')


def rewrite(module: Path, text: str) -> None:
    """Replace a module; Python would not notice, as its bytecode is never compared with it."""
    module.write_text(text)
    for compiled in (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
        compiled.unlink()


def find_packages(root: Path) -> Path:
    [found] = (root / PROGRAM).glob("lib/python3.*/site-packages")
    return found


def install(machine: Booted, package: Path, *options: str) -> float:
    """Install or upgrade as an administrator does; return how many seconds it took."""
    shutil.copy(package, machine.root / INSIDE[1:] / package.name)
    begun_s = time.monotonic()
    apt(machine, "install", *options, f"{INSIDE}/{package.name}")
    return time.monotonic() - begun_s


def apt(machine: Booted, verb: str, *arguments: str) -> str:
    done = machine.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", verb, *arguments)
    return done.stdout + done.stderr


def configure(machine: Booted) -> str:
    """Write the administrator's configuration and return its text."""
    text = json.dumps(CONFIGURATION, indent=1)
    put(machine.root / "etc/runtimed/daemon.json", text)
    machine.run("systemctl", "reload", "runtimed")
    return text


def curl(machine: Booted, target: str) -> str:
    """Ask as anybody could who has nothing but curl."""
    return machine.run("curl", "-fsS", "--unix-socket", "/run/runtimed/runtimed.sock", f"http://x{target}").stdout


def state_of(machine: Booted) -> tuple[object, ...]:
    """Return what an upgrade and a restart have to leave alone: the generation, its wrappers, their answers."""
    wrappers = machine.root / "var/lib/runtimed/wrappers"
    texts = {path.name: path.read_text() for path in wrappers.iterdir()}
    assert texts
    resolution = json.loads(curl(machine, "/v1/resolve?runtime=boxed"))
    return texts, resolution["generation"], resolution


def test_a_package_holds_no_path_of_its_build_and_lintian_finds_no_error(packages: Packages) -> None:
    lint = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error", "--tag-display-limit", "0", packages.first],
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout
    files = [path for path in packages.unpacked.rglob("*") if path.is_file() and not path.is_symlink()]
    traces = [path for path in files if b"runtimed-build" in path.read_bytes()]
    assert traces == []
    assert os.readlink(packages.unpacked / PROGRAM / "bin/python3").endswith("bin/python3")
    # Where each shell looks for them by the name of the command.
    for shell, path in COMPLETIONS.items():
        ours = CHECKOUT / f"runtimed/cli/completions/runtimectl.{shell}"
        assert (packages.unpacked / "usr/share" / path).read_bytes() == ours.read_bytes()
    for page in PAGES:
        made = subprocess.run(["scdoc"], input=page.read_bytes(), capture_output=True, check=True).stdout
        packed = packages.unpacked / f"usr/share/man/man{page.stem[-1]}" / f"{page.stem}.gz"
        # The day on which it was made is in its heading.
        assert gzip.decompress(packed.read_bytes()).splitlines()[10:] == made.splitlines()[10:]
    assert (packages.unpacked / "usr/share/doc/runtimed/examples/monitoring/rules.yml").exists()
    installed = sum(path.stat().st_size for path in files)
    remarks = len(lint.stdout.splitlines())
    print(  # noqa: T201 - for pytest to show
        f"built in {packages.build_s:.0f} s: {packages.first.stat().st_size / 1e6:.1f} MB, installed "
        f"{installed / 1e6:.1f} MB in {len(files)} files; lintian: no errors, {remarks} remarks"
    )


def test_an_installed_package_is_enabled_and_answers(packages: Packages, machine: Booted) -> None:
    took_s = install(machine, packages.first)
    for unit in ("runtimed.socket", "runtimed.service"):
        assert machine.run("systemctl", "is-enabled", unit).stdout == "enabled\n"
        assert machine.run("systemctl", "is-active", unit).stdout == "active\n"
    assert machine.run("systemctl", "is-enabled", SYNC, status=1).stdout == "disabled\n"
    for unit in PROMETHEUS:
        assert machine.run("systemctl", "is-enabled", unit, status=1).stdout == "disabled\n"
    assert machine.run("systemctl", "is-enabled", "runtimed-test.service").stdout == "static\n"
    for name, directory in (("docker", "docker"), ("podman", "containers")):
        unit = SYNC.replace("@", f"@{name}")
        assert f"/etc/{directory}" in machine.show(unit, "ReadWritePaths").split()[-1]
    assert json.loads(curl(machine, "/v1/status"))["health"]["status"] == "ok"
    assert json.loads(curl(machine, "/v1/resolve"))["runtime"] == "runc"
    # What is imported late, and what starts the program a second time.
    assert "runtimed_build" in curl(machine, "/metrics")
    assert '"collected"' in machine.run("runtimectl", "--json", "gc", "--dry-run").stdout
    machine.run("runtimectl", "check")
    # An administrator's own Python packages are no part of it, and nothing is written beside it.
    machine.run("env", "PYTHONPATH=/nonexistent", "PYTHONHOME=/nonexistent", "runtimectl", "version")
    assert machine.run("dpkg", "--verify", "runtimed").stdout == ""
    assert machine.run("getent", "group", "runtimed").stdout.startswith("runtimed:")
    mode = machine.run("stat", "-c", "%a %U %G", "/run/runtimed/runtimed.sock", "/run/runtimed", "/var/lib/runtimed")
    assert mode.stdout.splitlines() == ["660 root runtimed", "755 root root", "711 root root"]
    print(f"installed, started and answering in {took_s:.1f} s")  # noqa: T201 - for pytest to show


def test_an_upgrade_under_load_loses_no_request_and_no_administrators_file(packages: Packages, machine: Booted) -> None:
    install(machine, packages.first)
    text = configure(machine)
    before = state_of(machine)
    socket = machine.run("stat", "-c", "%i", "/run/runtimed/runtimed.sock").stdout
    process = machine.show("runtimed.service", "MainPID")
    program = machine.run("readlink", "-f", "/usr/lib/runtimed/current").stdout.strip()
    clients = machine.start(f"{program}/bin/python3", "-IB", "-c", ASKING)
    assert clients.stdout is not None
    assert clients.stdout.readline() == "asking\n"
    took_s = install(machine, packages.newer)
    out, err = clients.communicate(timeout=300)
    assert clients.returncode == 0, err
    answered, failures, digests, slowest_s = json.loads(out)
    assert failures == []
    assert len(digests) == 1
    assert machine.show("runtimed.service", "MainPID") != process
    assert machine.run("dpkg-query", "-W", "runtimed").stdout.split()[1] == NEWER
    assert machine.run("stat", "-c", "%i", "/run/runtimed/runtimed.sock").stdout == socket
    assert (machine.root / "etc/runtimed/daemon.json").read_text() == text
    assert state_of(machine) == before
    # The old program stays as long as something runs in it, as the clients did, and goes with the next installation.
    copies = machine.root / "usr/lib/runtimed"
    assert len(list(copies.glob("copy.*"))) == 2
    machine.run("sh", "-c", "/var/lib/dpkg/info/runtimed.postinst configure")
    assert len(list(copies.glob("copy.*"))) == 1
    assert state_of(machine) == before
    print(  # noqa: T201 - for pytest to show
        f"upgraded in {took_s:.1f} s under {CLIENTS} clients: {answered} requests answered, {len(failures)} failed, "
        f"the slowest took {slowest_s:.2f} s"
    )


def test_an_old_daemon_is_whole_for_as_long_as_it_runs(packages: Packages, machine: Booted) -> None:
    install(machine, packages.first)
    text = configure(machine)
    wrappers, generation, answer = state_of(machine)
    shutil.copy(packages.foreign, machine.root / INSIDE[1:] / "foreign.deb")
    machine.run("dpkg", "--unpack", f"{INSIDE}/foreign.deb")
    # Its first scrape: what it imports now must be of its own version. So must what starts in its place.
    assert "runtimed_build" in curl(machine, "/metrics")
    assert machine.run("runtimectl", "version").stdout
    machine.run("systemctl", "kill", "-s", "KILL", "runtimed.service")
    assert NEWER not in curl(machine, "/metrics")
    machine.run("dpkg", "--force-confdef", "--force-confold", "--configure", "runtimed")
    assert NEWER in machine.run("runtimectl", "status").stdout
    assert (machine.root / "etc/runtimed/daemon.json").read_text() == text
    # Another program makes another generation of it. The wrapper stays, and so does what the old generation answers.
    assert state_of(machine)[0] == wrappers
    assert json.loads(curl(machine, f"/v1/resolve?runtime=boxed&generation={generation}")) == answer


def test_removal_keeps_configuration_and_state_and_purging_does_not(packages: Packages, machine: Booted) -> None:
    install(machine, packages.first)
    text = configure(machine)
    before = state_of(machine)
    machine.run("systemctl", "enable", "--now", *PROMETHEUS)
    assert "runtimed_build" in machine.run("curl", "-fsS", "http://127.0.0.1:9742/metrics").stdout
    machine.eventually(machine.inside(TEXTFILE).exists, TEXTFILE)
    apt(machine, "remove", "runtimed")
    assert machine.run("systemctl", "list-units", "--plain", "--no-legend", "runtimed*").stdout == ""
    assert not machine.inside(TEXTFILE).exists()
    assert machine.run("systemctl", "is-active", "runtimed.socket", "runtimed.service", status=None).stdout == (
        "inactive\ninactive\n"
    )
    for file in ("runtimed.sock", "table.json"):
        machine.run("test", "!", "-e", f"/run/runtimed/{file}")
    assert not (machine.root / "usr/lib/runtimed").exists()
    assert (machine.root / "etc/runtimed/daemon.json").read_text() == text
    install(machine, packages.first)
    assert state_of(machine) == before
    apt(machine, "purge", "runtimed")
    for path in ("/etc/runtimed", "/var/lib/runtimed", "/run/runtimed", "/usr/lib/runtimed", "/usr/bin/runtimed"):
        machine.run("test", "!", "-e", path)
    assert machine.run("sh", "-c", "ls -R /etc/systemd /lib/systemd /usr/lib/systemd | grep runtimed", status=1)


def test_removal_and_purging_leave_an_engine_with_its_file_as_it_is(packages: Packages, machine: Booted) -> None:
    install(machine, packages.first)
    configure(machine)
    file = "/etc/containers/containers.conf.d/50-runtimed.conf"
    unit = SYNC.replace("@", "@podman")
    machine.run("systemctl", "enable", "--now", unit)
    text = machine.run("cat", file).stdout
    assert "/var/lib/runtimed/runtimes/boxed" in text
    install(machine, packages.newer)
    assert machine.run("systemctl", "is-active", unit).stdout == "active\n"
    apt(machine, "remove", "runtimed")
    assert machine.run("systemctl", "is-active", unit, status=3).stdout == "inactive\n"
    said = apt(machine, "purge", "runtimed")
    assert f"  {file}\n" in said
    assert machine.run("cat", file).stdout == text
    machine.run("sh", "/var/lib/runtimed/runtimes/boxed", "--version")
    assert not list((machine.root / "etc/systemd/system/multi-user.target.wants").glob("runtimed*"))


def test_purging_leaves_what_running_containers_need_and_says_so(packages: Packages, machine: Booted) -> None:
    install(machine, packages.first)
    configure(machine)
    before = sorted((machine.root / "var/lib/runtimed/wrappers").iterdir())
    container = "/run/runtimed/runtime-runc/k8s.io/web"
    machine.run("mkdir", "-p", container)
    machine.run("touch", f"{container}/state.json")
    said = apt(machine, "purge", "runtimed")
    assert f"{container}/state.json" in said
    assert "/run/runtimed and /var/lib/runtimed are left" in said
    machine.run("test", "-e", f"{container}/state.json")
    assert sorted((machine.root / "var/lib/runtimed/wrappers").iterdir()) == before
    assert not (machine.root / "etc/runtimed").exists()
