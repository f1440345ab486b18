"""Resolves a name in the table file beside the socket, for a client that no daemon answers.

It reads the file as its format promises: a first line without the resolutions, then a line for each. So only two lines
are parsed, however large the table is.
"""

from __future__ import annotations

import os
import stat

from runtimed.client.errors import refuse
from runtimed.client.socket_path import TABLE_FILE

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal, NotRequired, TypedDict

    from runtimed.core import shapes

    Document = dict[str, Any]
    _From = TypedDict("_From", {"from": NotRequired[Literal["file"]]})

    class Resolution(shapes.Resolution, _From):
        """A resolution of the API; ``from`` is "file" where it comes from the table file, and is missing otherwise."""


_FORMAT = 1
_END = b"\n}}\n"
# 100,000 runtimes have some 50 MiB.
_BYTES_MAX = 64 * 1024 * 1024
# Read at once. Larger blocks cost more than they save, because the C library gives their memory back each time.
_CHUNK_BYTES = 64 * 1024
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotUsable(Exception):
    """The table file exists and cannot be used for this request, for the reason in its text."""


def resolve_in_file(
    sockets: Sequence[str], runtime: str, generation: int | None, digest: str | None
) -> Resolution | None:
    """Return the resolution of ``runtime`` in the table file beside the first of ``sockets`` that has one, else None.

    Raises:
        NotUsable: the file is not to be trusted, is damaged, or has no such name or another generation.
        RuntimeUnavailable, DigestMismatch: as for a request.
    """
    for socket in sockets:
        path = f"{os.path.dirname(socket) or '.'}/{TABLE_FILE}"
        try:
            fd = _open(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as exc:
            raise NotUsable(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
        try:
            return _resolve(path, fd, runtime, generation, digest)
        finally:
            os.close(fd)
    return None


def _open(path: str) -> int:
    """Return a descriptor of the file ``path``, which is to be trusted. Raises: NotUsable, OSError, ValueError."""
    directory, name = os.path.split(path)
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(directory, os.fstat(parent))
        try:
            # O_NONBLOCK: a FIFO must not make the client wait.
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        except OSError:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise NotUsable(f"{path} is not used: it is a symbolic link") from None
            raise
    finally:
        os.close(parent)
    try:
        _check_file(path, os.fstat(fd))
    except NotUsable:
        os.close(fd)
        raise
    return fd


def _check_file(path: str, found: os.stat_result) -> None:
    """Raise NotUsable if the file is not to be trusted or read."""
    if not stat.S_ISREG(found.st_mode):
        raise NotUsable(f"{path} is not used: it is no regular file")
    _check(path, found)
    if found.st_size > _BYTES_MAX:
        raise NotUsable(f"{path} is not used: it is larger than {_BYTES_MAX // 2**20} MiB")


def _check(path: str, found: os.stat_result) -> None:
    """Raise NotUsable if another user than root and that of this process can change the file."""
    if found.st_uid not in (0, os.geteuid()):
        reason = f"it belongs to user {found.st_uid}, whom user {os.geteuid()} must not trust"
        raise NotUsable(f"{path} is not used: {reason}")
    if found.st_mode & _OTHERS_WRITE:
        raise NotUsable(f"{path} is not used: other users can write it (mode {stat.S_IMODE(found.st_mode):04o})")


def _resolve(path: str, fd: int, runtime: str, generation: int | None, digest: str | None) -> Resolution:
    try:
        number, name, found = _find(fd, runtime)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise NotUsable(f"{path} is not used: it is damaged ({exc})") from exc
    if found is None:
        raise NotUsable(f"{path} (generation {number}) has no runtime {name!r}")
    if generation is None and digest is None:
        _require_binary(found)
    elif generation != number:
        raise NotUsable(f"{path} has generation {number} only")
    elif digest is not None and digest != found["digest"]:
        detail = f"{name} in generation {number} has the digest {found['digest']}, not {digest}"
        refuse(409, {"status": 409, "code": "digest-mismatch", "detail": detail, "digest": found["digest"]})
    return {**found, "from": "file"}  # type: ignore[typeddict-item]  # the daemon's promise about each entry


def _find(fd: int, runtime: str) -> tuple[int, str, Document | None]:
    """Return the generation of the file, the name that ``runtime`` means, and its entry, None if there is none.

    Raises: OSError, ValueError, KeyError, TypeError, RecursionError: the file is damaged.
    """
    import json  # noqa: PLC0415 - needed only here

    data = os.read(fd, _CHUNK_BYTES)
    head = json.loads(data.partition(b"\n")[0] + b"}}")
    if head["format"] != _FORMAT:
        raise ValueError(f"its format is {head['format']!r}, and this client knows {_FORMAT}")
    if os.pread(fd, len(_END), os.fstat(fd).st_size - len(_END)) != _END:
        raise ValueError("its end is missing")
    number, name = head["generation"], runtime or head["default_runtime"]
    quoted = json.dumps(name).encode()
    # No raw newline occurs inside of JSON text, so this is the beginning of the entry and of no other text. It could be
    # shorter, but a longer text is found three times as fast.
    begins = b'\n%b:{"runtime":%b,' % (quoted, quoted)
    while (begin := data.find(begins)) < 0:
        if not (more := os.read(fd, _CHUNK_BYTES)):
            return number, name, None
        data = data[-len(begins) :] + more
    while (end := data.find(b"\n", begin + 1)) < 0:
        if not (more := os.read(fd, _CHUNK_BYTES)):
            raise ValueError("it ends in an entry")
        data += more
    found = json.loads(b"{%b}" % data[begin:end].removesuffix(b","))[name]
    if found["generation"] != number:
        raise ValueError(f"the entry of {name} is of generation {found['generation']}")
    return number, name, found


def _require_binary(found: Document) -> None:
    """Raise RuntimeUnavailable if the binary or the wrapper that a resolution names by its path is missing."""
    binary = ((found["options"] or {}).get("fields") or {}).get("binary_name")
    if not isinstance(binary, str) or not binary.startswith("/"):
        return
    try:
        os.stat(binary)
    except (FileNotFoundError, NotADirectoryError):
        detail = f"runtime {found['runtime']}: {binary}: no such file (no daemon answers; see runtimed's table.json)"
        more = {"runtime": found["runtime"], "path": binary}
        refuse(503, {"status": 503, "code": "runtime-unavailable", "detail": detail, **more})
    except (OSError, ValueError):
        pass  # it cannot be seen from here
