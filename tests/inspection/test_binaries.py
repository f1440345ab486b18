"""The node inspector: probes as the generation configures them, and replaceable binaries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import wait_until
from harness.generation import generation_of

from runtimed.host.features import Prober
from runtimed.inspection.binaries import NodeInspector


@pytest.fixture
def inspector() -> Iterator[NodeInspector]:
    inspector = NodeInspector("/usr/bin:/bin", lambda _binary, _features: None)
    yield inspector
    inspector.stop()


def probe(inspector: NodeInspector, binary: Path, settings: dict[str, object]) -> None:
    """Probe ``binary`` with the ``settings`` of a configuration."""
    document = {"runtimes": {"x": {"path": str(binary)}}, "runtimed": {"probe": settings}}
    inspector.probe(generation_of(document).config.runtimed.probe, [str(binary)])


def test_a_generation_turns_probing_on_and_off_without_a_restart(inspector: NodeInspector, tmp_path: Path) -> None:
    binary = tmp_path / "runtime"
    binary.write_text('#!/bin/sh\necho \'{"ociVersionMin": "1.0.0"}\'\n')
    binary.chmod(0o755)
    probe(inspector, binary, {"enabled": False})
    assert "turned off" in (inspector.features(str(binary)).reason or "")
    probe(inspector, binary, {"enabled": True})
    wait_until(lambda: inspector.features(str(binary)).status == "known", "the probe")
    probe(inspector, binary, {"enabled": False})
    assert "turned off" in (inspector.features(str(binary)).reason or "")


def test_features_can_be_read_while_another_thread_turns_probing_off(tmp_path: Path) -> None:
    class Racing(NodeInspector):
        """An inspector whose prober is removed directly after a read of it."""

        def __getattribute__(self, name: str) -> object:
            found = super().__getattribute__(name)
            if name == "_prober" and found is not None:
                self._prober = None
            return found

    inspector = Racing("", lambda _binary, _features: None)
    prober = inspector._prober = Prober(trusted=lambda _path: None, on_result=lambda _binary, _features: None)
    try:
        assert inspector.features(str(tmp_path / "none")).status == "pending"
    finally:
        prober.stop()
        inspector.stop()


def test_another_time_out_probes_binaries_again(inspector: NodeInspector, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    binary = tmp_path / "runtime"
    binary.write_text(f"#!/bin/sh\necho >> {asked}; exec sleep 99\n")
    binary.chmod(0o755)
    probe(inspector, binary, {"timeout": "60s"})
    wait_until(asked.exists, "the probe")
    probe(inspector, binary, {"timeout": 0.2})
    wait_until(lambda: "0.2 s" in (inspector.features(str(binary)).reason or ""), "the shorter time to be over")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_a_binary_that_others_could_replace_is_reported_once_for_each_change(tmp_path: Path) -> None:
    changes: list[tuple[dict[str, str], list[str]]] = []
    inspector = NodeInspector("", lambda *_: None, lambda begun, ended: changes.append((dict(begun), list(ended))))
    directory, binary = tmp_path / "bin", tmp_path / "bin" / "runtime"
    directory.mkdir(mode=0o755)
    binary.touch(0o755)

    def look() -> tuple[dict[str, str], list[str]] | None:
        changes.clear()
        inspector.states([str(binary), "/nowhere/runtime"])
        return changes[0] if changes else None

    assert look() is None
    directory.chmod(0o777)
    begun, ended = look() or ({}, [])
    assert f"{directory}: can be changed" in begun[str(binary)]
    assert ended == []
    assert look() is None
    directory.chmod(0o755)
    os.chown(binary, 1000, 1000)
    begun, ended = look() or ({}, [])
    assert f"{binary}: belongs to user id 1000" in begun[str(binary)]
    os.chown(binary, 0, 0)
    assert look() == ({}, [str(binary)])
