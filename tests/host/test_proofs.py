"""Tests of the file of proofs: faults of the file and of the disk, kills, repair."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtimed.core.errors import StoreFailed
from runtimed.core.proof.record import Proof, render_proofs
from runtimed.host.store.paths import Paths
from runtimed.host.store.proofs import ProofFile
from runtimed.host.store.repair import RepairOutcome

PROOF = Proof("a", "passed", "direct", "sha256:d", "sha256:i", 3, 1.5, "")
OTHER = dataclasses.replace(PROOF, runtime="b", detail="x" * 1000)
# Writes two contents in turn until it is killed, and a line before the first and after each.
WRITER = """
import sys
from runtimed.core.proof.record import Proof
from runtimed.host.store.paths import Paths
from runtimed.host.store.proofs import ProofFile

file = ProofFile(Paths(sys.argv[1]), "id", lambda: None, lambda _step: None)
print(flush=True)
while True:
    for name in "ab":
        one = Proof("x", "passed", "direct", name * 50_000, "i", 1, 1.0, "")
        file.write({str(n): one for n in range(20)})
        print(flush=True)
"""


class Disk:
    """A data root whose writes a test makes fail."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "proofs.json"
        self.refusal: str | None = None
        self.error: OSError | None = None
        self.file = self.open()

    def open(self) -> ProofFile:
        return ProofFile(Paths(str(self.root)), "id", lambda: self.refusal, self._at_step)

    def _at_step(self, _step: str) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def remark(disk: Disk) -> str:
    """Return why the file is not used; it gives no proofs."""
    proofs, reason = disk.open().read()
    assert dict(proofs) == {}
    assert reason is not None
    assert reason.startswith(f"{disk.path} is not used: ")
    assert reason.endswith("; test the runtimes again: runtimectl test --all")
    return reason


def test_proofs_survive_a_restart_and_only_the_daemon_may_read_them(disk: Disk) -> None:
    assert disk.open().read() == ({}, None)
    disk.file.write({"a": PROOF})
    disk.file.write({"a": PROOF, "b": OTHER})
    assert disk.open().read() == ({"a": PROOF, "b": OTHER}, None)
    assert disk.path.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(disk.root) == ["proofs.json"]


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "its checksum does not match its content"),
        (lambda path: path.write_bytes(b""), "its checksum does not match its content"),
        (lambda path: path.write_bytes(render_proofs({}, "other")), "it belongs to another data root"),
        (lambda path: path.chmod(0o620), "group or others can write it (mode 0620)"),
        (lambda path: path.chmod(0o606), "group or others can write it (mode 0606)"),
        (lambda path: (path.unlink(), path.mkdir()), "it is not a regular file"),
        (lambda path: path.rename(path.with_name("x")).parent and path.symlink_to("x"), "it is not a regular file"),
        (replace_by_fifo, "it is not a regular file"),
    ],
)
def test_a_damaged_or_foreign_file_gives_no_proofs_and_the_reason(
    disk: Disk, damage: Callable[[Path], object], reason: str
) -> None:
    disk.file.write({"a": PROOF})
    damage(disk.path)
    assert reason in remark(disk)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_gives_no_proofs(disk: Disk) -> None:
    disk.file.write({"a": PROOF})
    disk.path.chmod(0)
    assert "Permission denied" in remark(disk)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_another_user_gives_no_proofs(disk: Disk) -> None:
    disk.file.write({"a": PROOF})
    os.chown(disk.path, 65534, -1)
    assert "it belongs to user id 65534" in remark(disk)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_write_that_fails_leaves_the_old_file(disk: Disk, code: int) -> None:
    disk.file.write({"a": PROOF})
    disk.error = OSError(code, os.strerror(code), str(disk.path))
    with pytest.raises(StoreFailed, match=os.strerror(code)):
        disk.file.write({"b": OTHER})
    assert disk.open().read() == ({"a": PROOF}, None)
    assert not disk.file.seems_damaged()


def test_nothing_is_written_to_a_data_root_that_is_refused(disk: Disk) -> None:
    disk.refusal = "another directory is mounted over it"
    with pytest.raises(StoreFailed, match="another directory is mounted over it"):
        disk.file.write({"a": PROOF})
    assert os.listdir(disk.root) == []


@pytest.mark.timeout(600)
def test_a_kill_during_a_write_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    seen = set()
    for number in range(20):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(1 + number % 3):
            writer.stdout.readline()
        time.sleep(number * 0.0013)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        proofs, reason = Disk(tmp_path).file.read()
        assert reason is None
        seen.add((len(proofs), proofs["0"].digest[0] if proofs else ""))
    assert seen <= {(0, ""), (20, "a"), (20, "b")}
    assert len(seen) > 1


@pytest.fixture
def written(disk: Disk) -> Iterator[Disk]:
    disk.file.write({"a": PROOF})
    yield disk
    assert disk.open().read() == ({"a": PROOF}, None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"x"),
        lambda path: path.chmod(0o666),
        lambda path: (path.unlink(), path.write_bytes(render_proofs({}, "id"))),
    ],
)
def test_a_file_that_was_changed_is_written_again(written: Disk, damage: Callable[[Path], object]) -> None:
    assert not written.file.seems_damaged()
    damage(written.path)
    assert written.file.seems_damaged()
    outcome = written.file.repair(RepairOutcome(("earlier",)))
    assert outcome.repaired == ("earlier", f"{written.path} was missing or changed: written again")
    assert written.file.repair(RepairOutcome()) == RepairOutcome()


def test_a_repair_that_fails_is_a_remark_and_succeeds_later(written: Disk) -> None:
    written.path.unlink()
    written.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    outcome = written.file.repair(RepairOutcome(remark="earlier"))
    assert outcome.remark is not None
    assert outcome.remark.startswith(f"earlier; writing {written.path}: No space left on device")
    written.error = None
    assert written.file.repair(RepairOutcome()).repaired != ()


def test_a_file_that_could_not_be_used_stays_for_the_administrator(disk: Disk) -> None:
    disk.path.write_bytes(b"x")
    remark(disk)
    assert not disk.file.seems_damaged()
    assert disk.file.repair(RepairOutcome()) == RepairOutcome()
    assert disk.path.read_bytes() == b"x"
