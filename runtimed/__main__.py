"""``python -m runtimed`` and the console script."""

# Before anything else: a SIGHUP that comes while the imports below run would kill the process, and
# whoever sends one only wants what a start does anyway, that the configuration is read.
import signal

signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

import sys  # noqa: E402 - see above


def main() -> int:
    """Run the daemon and return its exit status: 0 stopped or valid, 1 it could not start or is invalid."""
    from runtimed.daemon import run  # noqa: PLC0415 - see above

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
