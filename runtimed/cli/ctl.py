"""runtimectl: asks the daemon from a shell. This module is its command line; see ``verbs`` for what it does."""

from __future__ import annotations

import argparse
import os
import sys

from runtimed import __version__
from runtimed.cli import verbs
from runtimed.cli.moving import add_export, add_import
from runtimed.cli.tables import printable
from runtimed.client import Client, ClientError, Refused

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INTERRUPTED = 130
_BROKEN_PIPE = 141
_NUMBER_MAX_DIGITS = 15
_EXIT_STATUS = """\
exit status:
  0  done, and all is well
  1  the daemon said no: an unknown name, a rejected configuration, not yours
     to change; for status: it is degraded; for check: it would be rejected;
     for resolve --format: the answer has no such form
  2  no daemon answers, or it must not be trusted; or a usage error
"""
# What to do about an error that the daemon answered with, by its code.
_HINTS = {
    "unknown-runtime": "runtimectl list shows what is known",
    "invalid-runtime-name": "runtimectl list shows what is known",
    "runtime-unavailable": "runtimectl list shows which runtimes can be used",
    "no-such-generation": "runtimectl generations lists those there are",
    "generation-gone": "runtimectl generations lists those there are",
    "digest-mismatch": "without --digest, runtimectl resolve shows the answer that was given",
    "disk-timeout": "findmnt lists the file systems; see whether one of them, on a network say, is gone",
    "forbidden": "run it as root (sudo)",
}
_HINT = "runtimectl status shows how the daemon is"


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Of a fixed width: argparse asks for the terminal's even where it shows no help, and imports shutil to do so."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=78)


def main(argv: Sequence[str] | None = None) -> int:
    """Run runtimectl with ``argv`` (by default the process's own) and return its exit status."""
    if sys.stdout is not None:
        # Whatever the locale cannot write is still told.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIOWrapper
    try:
        status = _run(argv)
        if sys.stdout is not None:
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
    return status


def _run(argv: Sequence[str] | None) -> int:
    try:
        parser = _parser()
        args = parser.parse_args(argv)
        if contradiction := _settle_format(args):
            parser.error(contradiction)
    except SystemExit as exc:
        # --help, --version, a usage error; caught, so that what they print is flushed like all else.
        return int(exc.code or 0)
    verb: verbs.Verb = args.function
    try:
        return verb(Client(args.socket), args)
    except Refused as exc:
        if args.json:
            verbs.say_json(exc.problem)
        _complain(exc, _HINTS.get(exc.code, _HINT))
        return verbs.REFUSED
    except ClientError as exc:
        _complain(exc, exc.hint)
        return verbs.NO_DAEMON


def _settle_format(args: argparse.Namespace) -> str | None:
    """Have --json and --format say the same; return what contradicts itself, None where nothing does."""
    if getattr(args, "digest", None) is not None and args.generation is None:
        return "--digest needs --generation: a digest alone does not say where to look"
    form = getattr(args, "format", None)
    if args.json and form not in (None, "json"):
        return f"--json and --format {form} contradict each other"
    if form == "json":
        args.json, args.format = True, None
    return None


def _complain(error: ClientError, hint: str) -> None:
    verbs.complain(f"runtimectl: {printable(error)}")
    if hint:
        verbs.complain(f"hint: {printable(hint)}")


def _discard_output() -> None:
    """Have what is still buffered go nowhere, so that the interpreter's end does not stumble over it."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.close(descriptor)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runtimectl",
        description="Ask the runtimed of this node what its container runtimes are, and have it reload them.",
        epilog=_EXIT_STATUS,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    _add_common(parser, None, json=False)
    parser.add_argument("--version", "-v", action="version", version=f"runtimectl {__version__}")
    subparsers = parser.add_subparsers(metavar="VERB", required=True, prog="runtimectl")

    def add(name: str, function: verbs.Verb, text: str, example: str) -> argparse.ArgumentParser:
        made = subparsers.add_parser(
            name,
            help=text,
            description=f"{text[:1].upper()}{text[1:]}.",
            epilog=f"example:\n  {example}\n\n{_EXIT_STATUS}",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )
        # Given before the verb or after it; what is not given after it must not undo what was given before.
        _add_common(made, argparse.SUPPRESS, json=argparse.SUPPRESS)
        made.set_defaults(function=function)
        return made

    _add_questions(add)
    _add_watch(add)
    _add_work(add)
    add_import(add, "import")
    add_export(add, "export")
    add("version", verbs.version, "show the versions of runtimectl and of the daemon", "runtimectl version")
    return parser


def _add_questions(add: Callable[..., argparse.ArgumentParser]) -> None:
    example = "ctr run --rm $(runtimectl resolve gvisor --format ctr) IMAGE ID"
    made = add("resolve", verbs.resolve, "show the shim and the options for a runtime", example)
    made.add_argument("name", nargs="?", default="", metavar="NAME", help="the runtime (default: the default runtime)")
    text = "as generation N had it, also if it is gone since"
    made.add_argument("--generation", type=_number, metavar="N", help=text)
    made.add_argument("--digest", metavar="DIGEST", help="with --generation: only the answer that has this digest")
    text = (
        "ctr: the words for `ctr run`; any: type_url and base64 of the options; path: the binary; json: as --json. "
        "Exit status 1 if the answer has no such form"
    )
    made.add_argument("--format", choices=("ctr", "json", "any", "path"), help=text)
    add("list", verbs.list_runtimes, "list the runtimes and whether each can be used", "runtimectl list")
    made = add("explain", verbs.explain, "show what a name really is, and why", "runtimectl explain gvisor")
    made.add_argument("name", type=_name, metavar="NAME", help="the runtime")
    add("status", verbs.status, "show how the daemon is, and why", "runtimectl status --json | jq .health")
    add("generations", verbs.generations, "list the generations that can be asked", "runtimectl generations")
    made = add("diff", verbs.diff, "show what differs between two generations", "runtimectl diff 6 7")
    made.add_argument("old", type=_number, metavar="G1", help="the number of a generation")
    made.add_argument("new", type=_number, metavar="G2", help="the number of another")


def _add_watch(add: Callable[..., argparse.ArgumentParser]) -> None:
    text = "show reloads, changes of health and of binaries as they happen"
    made = add("watch", verbs.watch, text, "runtimectl watch --json | jq -r .type")
    made.add_argument("--since", type=_number, metavar="SEQ", help="begin with what happened after event number SEQ")


def _add_work(add: Callable[..., argparse.ArgumentParser]) -> None:
    made = add("reload", verbs.reload, "have the daemon read its configuration now", "runtimectl reload --dry-run")
    made.add_argument("--dry-run", action="store_true", help="say what a reload would do, and do not do it")
    made = add("gc", verbs.gc, "remove wrappers that nothing refers to any more", "runtimectl gc --dry-run")
    made.add_argument("--dry-run", action="store_true", help="say what could be removed, and do not do it")
    text = "check a configuration without a daemon"
    made = add("check", verbs.check, text, "runtimectl check /tmp/daemon.json && mv /tmp/daemon.json /etc/runtimed/")
    made.add_argument("files", nargs="*", metavar="FILE", help="main file, then drop-ins (default: those in place)")


def _number(text: str) -> int:
    # As the daemon reads it: what int() takes besides (blanks, signs, underscores) is no number of a generation.
    if text.isascii() and text.isdigit() and len(text) <= _NUMBER_MAX_DIGITS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{printable(repr(text))} is not the number of a generation")


def _name(text: str) -> str:
    if text:
        return text
    raise argparse.ArgumentTypeError("it is empty")


def _add_common(parser: argparse.ArgumentParser, socket: str | None, *, json: bool | str) -> None:
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=socket,
        help="the daemon's socket (default: RUNTIMED_SOCKET, your own daemon's, /run/runtimed/runtimed.sock)",
    )
    parser.add_argument("--json", action="store_true", default=json, help="print the daemon's JSON, on one line")


if __name__ == "__main__":
    sys.exit(main())
