"""What a bad client does to a socket: `python attacks.py NAME PATH` does it, and prints what came of it as JSON.

A program of its own, so that it can run as somebody else, and be stopped. It imports nothing but the standard library.
Lines that it prints before the last say how far it is; what it waits for is a line on its standard input.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
import time
from collections.abc import Callable, Mapping

RESOLVE = b"GET /v1/resolve?runtime=w HTTP/1.1\r\nHost: x\r\n\r\n"
GIGABYTE = 1 << 30


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    while True:
        try:
            sock.connect(path)
        except BlockingIOError:
            time.sleep(0.001)  # the queue is full
        else:
            return sock


def say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def wait_to_go_on() -> None:
    sys.stdin.readline()


def rest(sock: socket.socket) -> bytes:
    """Return what still comes, to the end."""
    received = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while part := sock.recv(1 << 16):
            received += part
    return received


def trickle(path: str) -> object:
    """Send one byte a second on 1,000 connections, until the daemon has had enough of all of them."""
    socks = [connect(path) for _ in range(1000)]
    statuses: dict[str, int] = {}
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
        begun_s = last_s = time.monotonic()
        number = 0
        while selector.get_map():
            for key, _ in selector.select(0.1):
                status = rest(key.fileobj)[9:12].decode()  # type: ignore[arg-type]
                statuses[status] = statuses.get(status, 0) + 1
                selector.unregister(key.fileobj)
            if time.monotonic() - last_s >= 1:
                last_s = time.monotonic()
                for key in list(selector.get_map().values()):
                    with contextlib.suppress(ConnectionError):
                        key.fileobj.send(RESOLVE[number : number + 1])  # type: ignore[union-attr]
                number += 1
    return {"answers": statuses, "seconds": round(time.monotonic() - begun_s, 1)}


def never_read(path: str) -> object:
    """Send requests on 1,000 connections until nobody takes them any more, and read nothing."""
    socks = [connect(path) for _ in range(1000)]
    sent = 0
    data = RESOLVE * 400
    idle_since_s = begun_s = time.monotonic()
    for sock in socks:
        sock.setblocking(False)
    # Until nothing has been taken for a while, and not for ever.
    while time.monotonic() - idle_since_s < 1 and time.monotonic() - begun_s < 15:
        for sock in socks:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                # Not always whole requests: a stream of them all the same.
                sent += sock.send(data)
                idle_since_s = time.monotonic()
        time.sleep(0.01)
    say("done sending")
    wait_to_go_on()
    return {"sent_mib": sent >> 20}


def come_and_go(path: str) -> object:
    """Connect and close, 10,000 times."""
    for _ in range(10_000):
        connect(path).close()
    return {}


def send_without_end(path: str, begin: bytes, part: bytes) -> object:
    """Try to send a gigabyte on each of many connections, for some time; tell how far it came."""
    sent, most, tries = 0, 0, 0
    statuses: dict[str, int] = {}
    deadline_s = time.monotonic() + 30
    block = part * (65536 // len(part))
    while time.monotonic() < deadline_s and sent < GIGABYTE:
        tries += 1
        with connect(path) as sock:
            sock.settimeout(30)
            mine = 0
            with contextlib.suppress(ConnectionError):
                sock.sendall(begin)
                while mine < GIGABYTE and time.monotonic() < deadline_s:
                    mine += sock.send(block)
            status = rest(sock)[9:12].decode() if mine < GIGABYTE else "all"
            statuses[status] = statuses.get(status, 0) + 1
            sent, most = sent + mine, max(most, mine)
    return {"connections": tries, "sent_mib": sent >> 20, "most_on_one": most, "answers": statuses}


def headers(path: str) -> object:
    return send_without_end(path, b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: bbbbbbbbb\r\n")


def body(path: str) -> object:
    return send_without_end(path, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n", b"b" * 1024)


def pipeline(path: str) -> object:
    """Send 100,000 requests in one go, and count the answers while they come."""
    with connect(path) as sock:
        return {"answers": _pipelined(sock, 100_000)}


def _pipelined(sock: socket.socket, number: int, after: int = 0) -> int:
    """Return how many answers come to so many requests; say so ``after`` some of them."""
    data = memoryview(RESOLVE * number)
    sock.setblocking(False)
    answers, tail, told = 0, b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while answers < number:
            ((_, events),) = selector.select(60)
            if events & selectors.EVENT_WRITE:
                data = data[sock.send(data[: 1 << 16]) :]
                if not data:
                    selector.modify(sock, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                received = tail + sock.recv(1 << 16)
                if received == tail:
                    break
                answers += received.count(b"HTTP/1.1 200 OK\r\n")
                tail = received[-16:]
            if after and answers >= after and not told:
                told = True
                say("in the middle")
    return answers


def be_stopped(path: str) -> object:
    """Ask for much, and be stopped in the middle of it."""
    with connect(path) as sock:
        return {"answers": _pipelined(sock, 30_000, after=1000)}


def pin(path: str) -> object:
    """Ask on 1,000 connections, again and again, for what has to be read from the disk, for some seconds."""
    question = b"GET /v1/resolve?runtime=w&generation=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    statuses: dict[str, int] = {}
    deadline_s = time.monotonic() + 4
    with selectors.DefaultSelector() as selector:
        for _ in range(1000):
            sock = connect(path)
            sock.sendall(question)
            selector.register(sock, selectors.EVENT_READ)
        while time.monotonic() < deadline_s:
            for key, _ in selector.select(0.1):
                sock = key.fileobj  # type: ignore[assignment]
                status = sock.recv(1 << 16)[9:12].decode()
                statuses[status] = statuses.get(status, 0) + 1
                sock.sendall(question)
    return {"answers": statuses}


def hold(path: str, number: int) -> object:
    """Hold so many connections, and tell how many were answered and how."""
    socks = [connect(path) for _ in range(number)]
    for sock in socks:
        with contextlib.suppress(ConnectionError):
            sock.send(RESOLVE)
    say("connected")
    wait_to_go_on()
    statuses: dict[str, int] = {}
    # Each of them gets an answer or is closed, however long that takes on a busy machine.
    deadline_s = time.monotonic() + 60
    for sock in socks:
        sock.settimeout(max(deadline_s - time.monotonic(), 0.01))
        status = ""
        with contextlib.suppress(ConnectionError, TimeoutError):
            status = sock.recv(1 << 16)[9:12].decode()
        statuses[status] = statuses.get(status, 0) + 1
    return {"answers": statuses}


ATTACKS: Mapping[str, Callable[[str], object]] = {
    "trickle": trickle,
    "never_read": never_read,
    "come_and_go": come_and_go,
    "headers": headers,
    "body": body,
    "pipeline": pipeline,
    "be_stopped": be_stopped,
    "pin": pin,
    "hold_1100": lambda path: hold(path, 1100),
    "hold_200": lambda path: hold(path, 200),
}

if __name__ == "__main__":
    say(ATTACKS[sys.argv[1]](sys.argv[2]))
