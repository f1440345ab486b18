"""Raises the limit on file descriptors."""

from __future__ import annotations

import contextlib
import resource


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard limit.

    The soft limit, 1,024 on most systems, is for programs that use select(2), which this one does not
    (setrlimit(2), and systemd's "File Descriptor Limits"). Child processes get it back.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # ValueError, OSError: a hard limit above fs.nr_open, or a filter of system calls. The soft limit stays.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
