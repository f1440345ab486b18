from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness.daemon import as_user

from runtimed.core.errors import BinaryUnavailable
from runtimed.host import binaries

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def look_up(path: str, search: str) -> str:
    """Look up as the current effective user."""
    return binaries.look_up(path, search, as_root=os.geteuid() == 0)


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def reason(path: str, search: str = "") -> str:
    with pytest.raises(BinaryUnavailable) as caught:
        look_up(path, search)
    assert "error while looking up the specified runtime path" in str(caught.value)
    assert caught.value.code == "runtime-unavailable"
    return caught.value.reason


def test_a_path_with_a_slash_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runc = str(program(tmp_path / "runc"))
    monkeypatch.chdir(tmp_path)
    assert look_up(runc, "/nowhere") == runc
    assert look_up("./runc", "") == "./runc"


def test_the_first_element_of_path_with_an_executable_wins(tmp_path: Path) -> None:
    program(tmp_path / "a" / "runc", 0o644)
    (tmp_path / "b" / "runc").mkdir(parents=True)
    expected = program(tmp_path / "c" / "runc")
    program(tmp_path / "d" / "runc")
    search = ":".join(str(tmp_path / name) for name in ("none", "a", "b", "c", "d"))
    assert look_up("runc", search) == str(expected)


@pytest.mark.parametrize("search", ["bin", "./bin", "", ":/nowhere", "/nowhere:", "/nowhere::/nowhere"])
def test_a_hit_through_a_relative_element_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    program(tmp_path / "bin" / "runc")
    program(tmp_path / "runc")
    monkeypatch.chdir(tmp_path)
    # An empty PATH has no element at all, one with an empty element means the current directory.
    assert ("relative element" if search else "not found") in reason("runc", search)


def test_an_absolute_hit_before_a_relative_one_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "runc")
    monkeypatch.chdir(tmp_path)
    assert look_up("runc", f"{tmp_path}:.") == f"{tmp_path}/runc"


def test_the_reason_names_the_obstacle(tmp_path: Path) -> None:
    plain = program(tmp_path / "plain", 0o640)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, expected in [
        (f"{tmp_path}/none", "no such file"),
        (f"{plain}/below", "no such file"),
        (str(tmp_path), "is a directory"),
        (str(plain), "is not executable (mode 0640)"),
        (str(loop), "too many levels of symbolic links"),
        ("/a\0b", "no such file"),
    ]:
        assert reason(path) == expected


def test_a_file_that_is_not_executable_is_named_rather_than_not_found(tmp_path: Path) -> None:
    program(tmp_path / "runc", 0o644)
    assert reason("runc", f"/nowhere:{tmp_path}") == f"{tmp_path}/runc: is not executable (mode 0644)"
    assert "not found in PATH (/nowhere)" in reason("runc", "/nowhere")
    assert "not found" in reason("", "/usr/bin")


@needs_root
def test_root_may_execute_a_file_with_any_x_bit(tmp_path: Path) -> None:
    path = str(program(tmp_path / "runc", 0o611))
    assert look_up(path, "") == path


def found_or_reason(path: str) -> str:
    try:
        return look_up(path, "")
    except BinaryUnavailable as error:
        return error.reason


@needs_root
def test_permissions_are_those_of_the_effective_user() -> None:
    base = Path("/tmp") / f"look-up-{os.getpid()}"
    try:
        program(base / "roots", 0o700)
        program(base / "all", 0o755)
        program(base / "shut" / "runc")
        (base / "shut").chmod(0o700)
        paths = [f"{base}/roots", f"{base}/all", f"{base}/shut/runc"]

        def look() -> list[str]:
            return [found_or_reason(path) for path in paths]

        assert as_user(65534, look) == [
            "is not executable (mode 0700)",
            f"{base}/all",
            "permission denied: a directory on the way may not be searched",
        ]
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)
