"""Opens /dev/null in place of the standard streams that a process was started without."""

from __future__ import annotations

import os
import sys

_STDERR = 2


def open_standard_streams() -> None:
    """Open /dev/null in place of each standard stream that is closed.

    Otherwise the next file or socket that the process opens would get its descriptor, and with it all that is written
    to the stream. argparse of Python 3.11.2 fails where there is no stream to print to.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= _STDERR:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    # None where the descriptor was closed when Python started.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - open until the process ends
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - as above
