"""README.md and the manual pages on a booted machine: commands succeed, and print the output that is shown.

With RUNTIMED_TEST_DOCUMENTS=write the output is written into README.md instead of being compared with it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from e2e.harness.booted import CHECKOUT
from e2e.harness.installed import SERVICE, SOURCE, Installed, new_installation
from harness.daemon import put
from harness.documents import BLOCKS, README, Block

pytestmark = pytest.mark.timeout(900)
SAMPLE = (CHECKOUT / "etc/runtimed/daemon.json").read_text()
DOCKER_CONFIG = {"storage-driver": "vfs", "iptables": False, "bridge": "none", "ip-forward": False}
COMMANDS = [block for block in BLOCKS if block.language == "sh" and not block.not_run]
# Values that differ from run to run.
VARIES = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d( \(\d+ s ago\))?", "TIME"),
    (r"\b\d+(\.\d+)? ms\b", "N ms"),
    (r"(uptime +)\d+ s", r"\1N s"),
    (r"process \d+", "process N"),
    (r"\b[0-9a-f]{12}\b", "DIGEST"),
)


@pytest.fixture(scope="module")
def installation() -> Iterator[Installed]:
    with new_installation() as node:
        node.machine.let_containers_run()
        root = node.machine.root
        node.systemctl("stop", "docker.service", "docker.socket", status=None)
        node.run("rm", "-rf", "/var/lib/docker", "/etc/docker", "/etc/containerd")
        put(root / "etc/docker/daemon.json", DOCKER_CONFIG)
        (root / "etc/containerd/conf.d").mkdir(parents=True)
        (root / "etc/containerd/config.toml").write_text('version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n')
        node.systemctl("unmask", "containerd.service", "docker.service", "docker.socket")
        node.systemctl("start", "containerd.service", "docker.service")
        yield node


@pytest.fixture
def node(installation: Installed) -> Installed:
    """Return a node on its first generation, that of the sample configuration."""
    installation.systemctl("stop", SERVICE)
    installation.run("sh", "-c", "rm -rf /var/lib/runtimed/* /run/runtimed/generation-*")
    (installation.machine.root / "etc/runtimed/daemon.json").write_text(SAMPLE)
    installation.systemctl("start", SERVICE)
    return installation


def steady(text: str) -> str:
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    return text


def session(node: Installed, block: Block) -> str:
    """Return the block with the output that each of its commands prints now."""
    shown = ""
    for command in re.findall(r"^\$ (.*)$", block.text, re.MULTILINE):
        done = node.run("sh", "-c", f"cd /root; exec 2>&1; {command}", status=None)
        status = f"[exit status {done.returncode}]\n" if done.returncode else ""
        shown += f"$ {command}\n{done.stdout}{status}"
    return shown


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "console"], ids=str)
def test_a_session_prints_the_output_that_is_shown(node: Installed, block: Block) -> None:
    shown = session(node, block)
    if os.environ.get("RUNTIMED_TEST_DOCUMENTS") == "write":
        README.write_text(README.read_text().replace(block.text, shown))
    else:
        assert steady(shown) == steady(block.text)


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_the_commands_that_are_shown_succeed(node: Installed, block: Block) -> None:
    node.run("cp", f"{SOURCE}/etc/runtimed/daemon.json", "/tmp/daemon.json")
    done = node.run("bash", "-c", f"cd /root; set -o pipefail; {block.text}", status=None)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "ini"], ids=str)
def test_the_drop_ins_that_are_shown_start_the_service(node: Installed, block: Block) -> None:
    (node.machine.root / "srv/runtimed").mkdir(mode=0o755)
    text = block.text.removeprefix("[Service]\n")
    if not shutil.which("runtimed", path=str(node.machine.root / "usr/bin")):
        # As the page says of an installation from a checkout.
        text = text.replace("/usr/bin/", "/usr/local/bin/")
    with node.dropin(text):
        node.systemctl("restart", SERVICE)
        assert node.client().status()["data_root"] == "/srv/runtimed"
    node.systemctl("restart", SERVICE)
