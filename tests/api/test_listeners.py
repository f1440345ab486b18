"""Tests that lost paths of listening sockets are bound anew, or reported if that is not possible."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import short_directory

from runtimed.api.listeners import Listeners
from runtimed.api.sockets import bind_socket
from runtimed.host.systemd import Inherited


class Acceptor:
    """Replaces the server: records the sockets that it was given."""

    def __init__(self) -> None:
        self.given: list[socket.socket] = []

    def replace(self, sock: socket.socket) -> None:
        self.given.append(sock)


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


def new_listeners(renewed: list[str], secure: Any = lambda _path: None) -> Listeners:
    return Listeners(secure, asyncio.to_thread, renewed.append)


async def test_a_lost_path_is_a_fault_until_it_is_bound_anew(directory: Path) -> None:
    renewed: list[str] = []
    listeners, acceptor = new_listeners(renewed), Acceptor()
    bound = bind_socket(str(directory / "s"))
    listeners.add(bound, acceptor)  # type: ignore[arg-type]
    assert not listeners.seems_damaged()
    (directory / "s").unlink()
    assert listeners.seems_damaged()
    await listeners.note()
    assert "removed or replaced" in listeners.faults["socket"]
    await listeners.renew()
    assert (listeners.faults, renewed, acceptor.given) == ({}, [bound.path], [bound.sock])
    assert not listeners.seems_damaged()
    bound.close()
    assert not (directory / "s").exists()


async def test_the_lost_path_of_an_inherited_socket_is_a_fault_with_a_remedy(directory: Path) -> None:
    renewed: list[str] = []
    listeners, acceptor = new_listeners(renewed), Acceptor()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory / "s"))
        sock.listen()
        listeners.add(Inherited("x", sock), acceptor)  # type: ignore[arg-type]
        assert not listeners.seems_damaged()
        (directory / "s").unlink()
        assert listeners.seems_damaged()
        await listeners.note()
        await listeners.renew()
    assert "systemctl restart runtimed.socket" in listeners.faults["socket"]
    assert (renewed, acceptor.given) == ([], [])


async def test_a_path_that_is_not_a_socket_is_kept_and_reported(directory: Path) -> None:
    listeners = new_listeners([])
    bound = bind_socket(str(directory / "s"))
    listeners.add(bound, Acceptor())  # type: ignore[arg-type]
    (directory / "s").unlink()
    (directory / "s").write_text("precious")
    await listeners.note()
    await listeners.renew()
    assert "a regular file" in listeners.faults["socket"]
    await listeners.note()
    assert "a regular file" in listeners.faults["socket"], "the reason stays the same"
    assert (directory / "s").read_text() == "precious"
    (directory / "s").unlink()
    await listeners.note()
    await listeners.renew()
    assert listeners.faults == {}
    bound.close()
