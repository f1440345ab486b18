"""File systems that hang, as a dead NFS server does: whoever looks waits until it comes back, and can be killed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path


class Ask(IntEnum):
    """Requests of FUSE's protocol, as linux/fuse.h has them."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    BATCH_FORGET = 42


UNANSWERED = (Ask.FORGET, Ask.INTERRUPT, Ask.BATCH_FORGET)
VERSION = 7, 31
IN_HEADER = struct.Struct("=IIQQIIII")
OUT_HEADER = struct.Struct("=IiQ")
ROOT = 1
DIRECT_IO = 1
# More than the kernel wants to have room for.
REQUEST_MOST = 1 << 18
MNT_DETACH = 2
# How often the server sees whether it is to hang, or to go on.
LOOK_S = 0.02


@contextlib.contextmanager
def mounted(path: Path) -> Iterator[tuple[int, Callable[[], None]]]:
    """Mount what nobody answers for at ``path``; yield the descriptor to answer on, and what closes it."""
    assert Path("/dev/fuse").exists(), "this test needs /dev/fuse"
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    given = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    closed = threading.Event()

    def end() -> None:
        if not closed.is_set():
            closed.set()
            os.close(server)

    try:
        if libc.mount(b"hanging", os.fsencode(path), b"fuse", 0, given) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        try:
            yield server, end
        finally:
            end()
            # Without a look at it.
            assert libc.umount2(os.fsencode(path), MNT_DETACH) == 0
    finally:
        end()


@contextlib.contextmanager
def hanging_directory(path: Path) -> Iterator[Callable[[], None]]:
    """Mount what never answers at ``path``; yield what ends it, and whatever waits for it, with an error."""
    with mounted(path) as (_, end):
        yield end


@contextlib.contextmanager
def served_directory(path: Path, files: Mapping[str, bytes]) -> Iterator[FuseDirectory]:
    """Mount a directory of ``files`` at ``path``, which answers until it is told to hang."""
    with mounted(path) as (server, end):
        served = FuseDirectory(server)
        for name, data in files.items():
            served.write(name, data)
        thread = threading.Thread(target=served.run, name="fuse", daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.stop()
            thread.join()
            end()


@dataclass(frozen=True, slots=True)
class FuseNode:
    """A file, or the directory itself."""

    number: int
    mode: int
    data: bytes = b""
    changed_ns: int = field(default_factory=time.time_ns)

    def attributes(self) -> bytes:
        """Return a ``struct fuse_attr``."""
        seconds, nanoseconds = divmod(self.changed_ns, 10**9)
        times = (seconds,) * 3, (nanoseconds,) * 3
        links, uid, gid, device, block, flags = 1, 0, 0, 0, 4096, 0
        numbers = self.number, len(self.data), 1, *times[0], *times[1]
        return struct.pack("=6Q3I7I", *numbers, self.mode, links, uid, gid, device, block, flags)


class FuseDirectory:
    """A read-only directory of files, all root's, and the server of it. The kernel keeps nothing of what it says."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._root = FuseNode(ROOT, stat.S_IFDIR | 0o755)
        self._files: dict[str, FuseNode] = {}
        self._nodes = {ROOT: self._root}
        self._answering = threading.Event()
        self._answering.set()
        self._stopped = threading.Event()
        # Held while a request is taken and answered: one that was taken and not answered could not be killed.
        self._lock = threading.Lock()

    def write(self, name: str, data: bytes) -> None:
        """Put a file there, by rename as it were."""
        with self._lock:
            node = FuseNode(len(self._nodes) + 1, stat.S_IFREG | 0o644, data)
            self._nodes[node.number] = self._files[name] = node

    def hang(self) -> None:
        """Answer nothing from now on."""
        with self._lock:
            self._answering.clear()

    def go_on(self) -> None:
        """Answer again, also what was asked meanwhile."""
        self._answering.set()

    def stop(self) -> None:
        """End ``run``."""
        self._stopped.set()

    def run(self) -> None:
        """Answer what the kernel asks until told to stop."""
        while not self._stopped.is_set():
            if self._answering.wait(LOOK_S) and select.select([self._server], [], [], LOOK_S)[0]:
                with self._lock:
                    if self._answering.is_set():
                        self._answer_one()

    def _answer_one(self) -> None:
        try:
            request = os.read(self._server, REQUEST_MOST)
        except OSError as error:
            # Interrupted before it was taken; or gone since.
            if error.errno not in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                raise
            return
        _, operation, unique, number, *_ = IN_HEADER.unpack_from(request)
        if operation in UNANSWERED:
            return
        try:
            refused, answer = 0, self._answer(operation, self._nodes[number] if number else self._root, request[40:])
        except OSError as refusal:
            refused, answer = -(refusal.errno or errno.EIO), b""
        # ENOENT: whoever asked was killed.
        with contextlib.suppress(FileNotFoundError):
            os.write(self._server, OUT_HEADER.pack(OUT_HEADER.size + len(answer), refused, unique) + answer)

    def _answer(self, operation: int, node: FuseNode, body: bytes) -> bytes:
        match operation:
            case Ask.INIT:
                answer = struct.pack("=IIIIHHIIHHI7I", *VERSION, 0, 0, 8, 8, 4096, 1, 0, 0, 0, *(0,) * 7)
            case Ask.LOOKUP:
                found = self._file(body.rstrip(b"\0").decode())
                answer = struct.pack("=4Q2I", found.number, 0, 0, 0, 0, 0) + found.attributes()
            case Ask.GETATTR:
                answer = struct.pack("=QII", 0, 0, 0) + node.attributes()
            case Ask.OPEN | Ask.OPENDIR:
                answer = struct.pack("=QII", 0, DIRECT_IO if operation == Ask.OPEN else 0, 0)
            case Ask.READ:
                _, offset, size = struct.unpack_from("=QQI", body)
                answer = node.data[offset : offset + size]
            case Ask.READDIR:
                _, offset, size = struct.unpack_from("=QQI", body)
                answer = self._entries(offset)[:size]
            case Ask.STATFS:
                answer = struct.pack("=5Q4I6I", 1, 0, 0, 1, 0, 4096, 255, 4096, 0, *(0,) * 6)
            case Ask.RELEASE | Ask.RELEASEDIR:
                answer = b""
            case _:
                raise OSError(errno.ENOSYS, f"request {operation}")
        return answer

    def _file(self, name: str) -> FuseNode:
        if name not in self._files:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self._files[name]

    def _entries(self, offset: int) -> bytes:
        """Return the directory's entries behind the first ``offset``, each a ``struct fuse_dirent``."""
        entries = b""
        for position, (name, node) in enumerate(self._files.items()):
            if position >= offset:
                encoded = name.encode()
                head = struct.pack("=QQII", node.number, position + 1, len(encoded), stat.S_IFREG >> 12)
                entries += (head + encoded).ljust((len(head) + len(encoded) + 7) & ~7, b"\0")
        return entries
