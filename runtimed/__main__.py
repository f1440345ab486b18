"""Runs the daemon, as ``python -m runtimed`` and as the console script."""

# First, because a SIGHUP during the imports below would kill the process. It can be ignored: the start reads the
# configuration anyway.
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
    # asyncio imports ssl where it can, which costs 1.8 MB and a twentieth of the start; the daemon uses no TLS. It
    # works without, as on a Python that was built without OpenSSL. Other modules can still import ssl afterwards.
    absent = cast("ModuleType", None)
    sys.modules.setdefault("ssl", absent)
    import asyncio  # noqa: F401, PLC0415 - see above

    if sys.modules["ssl"] is absent:
        del sys.modules["ssl"]


if __name__ == "__main__":
    sys.exit(main())
