"""Reads the files that a command line names: regular files as a reload does, pipes and descriptors as they come."""

from __future__ import annotations

import os
import re
import stat

from runtimed.core.config import Documents, Source
from runtimed.core.errors import Problem
from runtimed.core.message_text import printable

STDIN = "-"
# `/dev/stdin`, and what a shell writes for `<(command)`.
_DESCRIPTOR = re.compile(r"/dev/stdin|/(?:dev|proc/(?:self|thread-self|[0-9]+))/fd/([0-9]{1,9})", re.ASCII)


def is_stream(path: str) -> bool:
    """Return whether ``path`` is standard input, another descriptor of this process, or a pipe."""
    try:
        return path == STDIN or _DESCRIPTOR.fullmatch(path) is not None or stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def read_stream(path: str, most: int) -> Documents:
    """Return the document that comes from the stream ``path``, or why it cannot be read. Blocks until its end.

    Its owner and mode are not judged: whoever opened it could read the content, and it is not read a second time.
    """
    name = "stdin" if path == STDIN else printable(path)
    descriptor = _DESCRIPTOR.fullmatch(path)
    try:
        if path == STDIN or descriptor is not None:
            fd = os.dup(int(descriptor[1] or 0) if descriptor is not None else 0)
        else:
            fd = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            data = file.read(most + 1)
    except (OSError, OverflowError) as exc:
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        return Documents(name, problems=(Problem(f"cannot be read: {reason}", name, None, None, None, reason),))
    if len(data) > most:
        found, expected = f"more than {most:,} bytes", f"at most {most:,} bytes"
        message = f"is too big to be a configuration ({found}); is it the right file?"
        return Documents(name, problems=(Problem(message, name, found=found, expected=expected),))
    return Documents(name, Source(name, data))
