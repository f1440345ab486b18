"""``python -m runtimed`` and the console script."""

# Before anything else: a SIGHUP that comes while the imports below run would kill the process, and
# whoever sends one only wants what a start does anyway, that the configuration is read.
import signal

signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

import sys  # noqa: E402 - see above
from types import ModuleType  # noqa: E402 - see above
from typing import cast  # noqa: E402 - see above

from runtimed.streams import open_standard_streams  # noqa: E402 - see above


def main() -> int:
    """Run the daemon and return its exit status: 0 stopped or valid, 1 it could not start or is invalid."""
    open_standard_streams()
    _import_asyncio()
    from runtimed.daemon.main import run  # noqa: PLC0415 - see above

    return run(sys.argv[1:])


def _import_asyncio() -> None:
    # It loads OpenSSL wherever that is there, for TLS that nobody speaks here: 1.8 MB, and a twentieth of the start.
    # asyncio goes on without it, as it does on a Python that was built without; all others may import ssl as ever.
    absent = cast("ModuleType", None)
    sys.modules.setdefault("ssl", absent)
    import asyncio  # noqa: F401, PLC0415 - see above

    if sys.modules["ssl"] is absent:
        del sys.modules["ssl"]


if __name__ == "__main__":
    sys.exit(main())
