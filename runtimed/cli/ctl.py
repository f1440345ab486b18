"""runtimectl: asks the daemon from a shell. ``parser`` is its command line, ``verbs`` what it does; here they meet."""

from __future__ import annotations

import gc
import os
import sys

from runtimed.cli import verbs
from runtimed.cli.parser import make_parser
from runtimed.cli.tables import printable
from runtimed.cli.terminal import look_at
from runtimed.client import Client, ClientError, Refused
from runtimed.streams import open_standard_streams

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

_INTERRUPTED = 130
_BROKEN_PIPE = 141
# What the shells' completions call (etc/completions); no verb, because it is nobody's but theirs.
_COMPLETE = "__complete"
_SOCKET_HINT = "the daemon's socket is what --socket or RUNTIMED_SOCKET names, /run/runtimed/runtimed.sock without them"


def main(argv: Sequence[str] | None = None) -> int:
    """Run runtimectl with ``argv`` (by default the process's own) and return its exit status."""
    open_standard_streams()
    # Characters that the locale cannot write are written as escapes.
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
        # The client's own errors are none of these: a full disk behind stdout, say.
        _discard_output()
        verbs.complain(f"runtimectl: the answer cannot be written: {exc.strerror}")
        return verbs.REFUSED
    if argv is None:
        # The process is about to end, and looking through all it has for garbage would be a tenth of its time.
        gc.freeze()
    return status


def _run(argv: Sequence[str]) -> int:
    if argv[:1] == [_COMPLETE]:
        from runtimed.cli.complete import complete  # noqa: PLC0415 - nobody waits for it but a shell

        return complete(make_parser(()), argv[1:])
    try:
        args, unknown = make_parser(argv).parse_known_args(argv)
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if contradiction := _settle_format(args):
            args.parser.error(contradiction)
    except SystemExit as exc:
        # --help, --version, a usage error; caught, so that what they print is flushed like all else.
        return int(exc.code or 0)
    args.terminal = look_at(sys.stdout, os.environ)
    verb: verbs.Verb = args.function
    client = Client(args.socket)
    try:
        return verb(client, args)
    except Refused as exc:
        if args.json:
            verbs.say_json(exc.problem)
        _complain(f"{exc} (socket {client.socket})", exc.hint)
        return verbs.REFUSED
    except ClientError as exc:
        hint = exc.hint or _SOCKET_HINT
        if args.json:
            verbs.say_json({"code": exc.code, "detail": str(exc), "hint": hint})
        _complain(exc, hint)
        return verbs.NO_DAEMON


def _settle_format(args: Namespace) -> str | None:
    """Have --json and --format say the same; return what contradicts itself, None where nothing does."""
    if getattr(args, "digest", None) is not None and args.generation is None:
        return "--digest needs --generation: a digest alone does not say where to look"
    form = getattr(args, "format", None)
    if args.json and form not in (None, "json"):
        return f"--json and --format {form} contradict each other"
    if form == "json":
        args.json, args.format = True, None
    return None


def _complain(error: ClientError | str, hint: str) -> None:
    verbs.complain(f"runtimectl: {printable(error)}")
    verbs.complain(f"hint: {printable(hint)}")


def _discard_output() -> None:
    """Have what is still buffered go nowhere, so that the interpreter's end does not stumble over it."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
