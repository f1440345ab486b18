"""Runs the daemon, as ``python -m runtimed`` and as the console script."""

# First, because a SIGHUP during the imports below would kill the process. It can be ignored: the start reads the
# configuration anyway.
import signal

signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

import gc  # noqa: E402 - see above
import sys  # noqa: E402 - see above
from importlib import import_module  # noqa: E402 - see above
from types import ModuleType  # noqa: E402 - see above
from typing import cast  # noqa: E402 - see above

from runtimed.streams import open_standard_streams  # noqa: E402 - see above


def main() -> int:
    """Run the daemon and return its exit status: 0 stopped or valid, 1 it could not start or is invalid."""
    open_standard_streams()
    # Objects that imports make stay, so no collection needs to scan them. A start leaves hardly any garbage either:
    # `runtimed.reload.gc_freeze` enables collections after the first table.
    gc.disable()
    # OpenSSL takes 1.8 MB and a twentieth of the start, and the daemon uses no TLS.
    _import_without("ssl", "asyncio")
    # For coloured tracebacks; 4.6 MB and a tenth of the start, where another program's installation brought it along.
    _import_without("rich", "structlog")
    from runtimed.daemon.main import run  # noqa: PLC0415 - see above

    gc.freeze()
    return run(sys.argv[1:])


def _import_without(optional: str, module: str) -> None:
    """Import ``module``, which would import ``optional`` but works without it. Others can still import that later."""
    absent = cast("ModuleType", None)
    sys.modules.setdefault(optional, absent)
    import_module(module)
    if sys.modules[optional] is absent:
        del sys.modules[optional]


if __name__ == "__main__":
    sys.exit(main())
