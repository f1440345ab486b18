"""Runs runtimectl: parses the command line, calls the function of the verb and reports its errors."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from runtimed.cli import verbs
from runtimed.cli.parser import make_parser
from runtimed.cli.terminal import inspect_terminal
from runtimed.client import Client, ClientError, Refused
from runtimed.streams import open_standard_streams

_INTERRUPTED = 130
_BROKEN_PIPE = 141
# Called by the completions of the shells (cli/completions).
_COMPLETE = "__complete"
_SOCKET_HINT = "--socket or RUNTIMED_SOCKET names the daemon's socket; the default is /run/runtimed/runtimed.sock"


def main(argv: Sequence[str] | None = None) -> int:
    """Run runtimectl with ``argv`` (default: the arguments of the process) and return its exit status."""
    open_standard_streams()
    # Characters that the locale cannot encode are written as escapes.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIOWrapper
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return _BROKEN_PIPE
    except OSError as exc:
        # The client raises its own errors, so this one is about stdout: a full disk, for example.
        _discard_output()
        verbs.complain(f"runtimectl: the output cannot be written: {exc.strerror}")
        return verbs.REFUSED
    if argv is None:
        # Skips the finalization of the interpreter, which takes a twentieth of the run time.
        sys.stderr.flush()
        os._exit(status)
    return status


def _run(argv: Sequence[str]) -> int:
    if argv[:1] == [_COMPLETE]:
        from runtimed.cli.complete import complete  # noqa: PLC0415 - only completions need it

        return complete(make_parser(()), argv[1:])
    # Like kubectl and podman: help is the answer to a command line without words.
    argv = argv or ("--help",)
    try:
        args, unknown = make_parser(argv).parse_known_args(argv)
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        _settle_format(args)
    except SystemExit as exc:
        # --help, --version, a usage error; caught so that main() flushes the output.
        return int(exc.code or 0)
    args.terminal = inspect_terminal(sys.stdout, os.environ)
    verb: verbs.Verb = args.function
    client = Client(args.socket)
    try:
        return verb(client, args)
    except Refused as exc:
        if args.json:
            verbs.print_json(exc.problem)
        verbs.fail(f"{exc} (socket {client.socket})", exc.hint)
        return verbs.REFUSED
    except ClientError as exc:
        hint = exc.hint or _SOCKET_HINT
        if args.json:
            verbs.print_json({"code": exc.code, "detail": str(exc), "hint": hint})
        verbs.fail(exc, hint)
        return verbs.NO_DAEMON


def _settle_format(args: Namespace) -> None:
    """Set --json for ``--format json``, and refuse options that contradict each other."""
    if getattr(args, "digest", None) is not None and args.generation is None:
        args.parser.error("--digest needs --generation: a digest alone does not say where to look")
    form = getattr(args, "format", None)
    if form == "path" and args.generation is not None:
        args.parser.error("--format path takes no --generation: a stable path belongs to all generations")
    if args.json and form not in (None, "json"):
        args.parser.error(f"--json and --format {form} contradict each other")
    if form == "json":
        args.json, args.format = True, None


def _discard_output() -> None:
    """Redirect stdout to /dev/null, so that the interpreter can flush its buffer at exit."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
