"""The help of the daemon's command line."""

from __future__ import annotations

import pytest

from runtimed.daemon.arguments import parse_arguments


@pytest.mark.parametrize(
    ("uid", "paths"),
    [
        (0, ("/etc/runtimed/daemon.json", "/var/lib/runtimed", "unix:///run/runtimed/runtimed.sock")),
        (1, ("/h/%d/.config/runtimed/daemon.json", "/h/%d/.local/state/runtimed")),
    ],
)
def test_the_help_shows_the_defaults_of_the_user(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, uid: int, paths: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match=r"^0$"):
        parse_arguments(["--help"], {"HOME": "/h/%d"}, uid)
    shown = capsys.readouterr().out
    assert [path for path in (*paths, "info", "runc") if f"(default: {path})" not in shown] == []
