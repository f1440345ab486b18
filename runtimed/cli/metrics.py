"""Prints the daemon's metrics, or writes them to a file for the textfile collector of Prometheus' node-exporter."""

from __future__ import annotations

import os
from argparse import Namespace

from runtimed.cli.verbs import OK, REFUSED, complain, fail, print_utf8
from runtimed.client import Client, ClientError

# The metrics of the process (process_*) are left out: node-exporter has its own.
_OURS = ("runtimed_", "# HELP runtimed_", "# TYPE runtimed_")
_UP = "# HELP runtimed_up Whether the daemon answered.\n# TYPE runtimed_up gauge\nruntimed_up {value}\n"
_MODE = 0o644


def metrics(client: Client, args: Namespace) -> int:
    """Print the metrics, or write them to a file for node-exporter."""
    if args.textfile is None:
        print_utf8(client.metrics().rstrip("\n"))
        return OK
    if not args.textfile.endswith(".prom"):
        args.parser.error(f"{args.textfile} does not end in .prom: node-exporter would not read it")
    try:
        text = select_families(client.metrics()) + _UP.format(value=1)
    except ClientError as exc:
        # Success, because the file reports it. A unit that failed twice a minute would report it a second time.
        complain(f"runtimectl: {exc}; runtimed_up is 0")
        text = _UP.format(value=0)
    try:
        replace_file(args.textfile, text)
    except OSError as exc:
        hint = "PATH is a file in the directory that node-exporter's flag --collector.textfile.directory names"
        fail(f"{args.textfile} cannot be written: {exc.strerror}", hint)
        return REFUSED
    return OK


def select_families(text: str) -> str:
    """Return the lines of ``text``, the text format of Prometheus, that belong to metrics of the daemon itself."""
    return "".join(line for line in text.splitlines(keepends=True) if line.startswith(_OURS))


def replace_file(path: str, text: str) -> None:
    """Replace the file ``path``, so that each reader gets the whole old or the whole new content.

    The temporary file begins with a dot and does not end in .prom: node-exporter reads all files that do. It is not
    synced, because it is written again within a minute.

    Raises: OSError.
    """
    directory, name = os.path.split(path)
    # The number keeps two runs apart. A file of this name is left from a run that was killed.
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    _remove(temporary)
    # O_EXCL: root also writes to directories of other users, who could put a link there.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            # Whatever the umask is, node-exporter runs as another user.
            os.fchmod(descriptor, _MODE)
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: str) -> None:
    try:  # noqa: SIM105 - one import less
        os.unlink(path)
    except FileNotFoundError:
        pass
