"""The command line of runtimectl: its verbs, their arguments and help texts."""

from __future__ import annotations

import argparse

from runtimed import __version__
from runtimed.cli import verbs
from runtimed.cli.tables import printable

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, NoReturn

    Add = Callable[..., "Parser"]

_PROGRAM = "runtimectl"
_NUMBER_MAX_DIGITS = 15
_EXIT_STATUS = """\
exit status:
  0  done, and all is well
  1  the daemon said no: an unknown name, a rejected configuration, not yours
     to change; for status: it is degraded; for check and plan: it would be
     rejected; for resolve --format: the answer has no such form
  2  no daemon answers, or it must not be trusted; or a usage error
  3  with --exit-code, for plan and diff: something changes
  130, 141  interrupted; nobody reads the output any more
"""


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Of a fixed width: argparse asks for the terminal's even where it shows no help, and imports shutil to do so."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=78)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and where to look in another, and what may stand where: see ``complete``."""

    def __init__(self, **more: Any) -> None:
        # Options by what is typed for them; and the rest, in order.
        self.options: dict[str, argparse.Action] = {}
        self.places: list[argparse.Action] = []
        super().__init__(formatter_class=_HelpFormatter, allow_abbrev=False, **more)

    def add_argument(self, *names: Any, **more: Any) -> argparse.Action:
        """Return the argument that was added."""
        action = super().add_argument(*names, **more)
        self.options.update(dict.fromkeys(action.option_strings, action))
        if not action.option_strings:
            self.places.append(action)
        return action

    def error(self, message: str) -> NoReturn:
        """End with what is wrong."""
        verbs.complain(f"{_PROGRAM}: {printable(message)}")
        verbs.complain(f"hint: {self.prog} --help shows how it is used")
        raise SystemExit(verbs.USAGE)


def make_parser(argv: Sequence[str]) -> Parser:
    """Return what reads ``argv``: of the verbs only the one that it begins with, if it does; each costs time."""
    parser = Parser(
        prog=_PROGRAM,
        description="Ask the runtimed of this node what its container runtimes are, and have it reload them.",
        epilog=_EXIT_STATUS,
    )
    _add_common(parser, None, json=False)
    parser.add_argument("--version", "-v", action="version", version=f"runtimectl {__version__}")
    subparsers = parser.add_subparsers(metavar="VERB", required=True, prog=_PROGRAM)
    parser.places.append(subparsers)

    def add(name: str, function: verbs.Verb, text: str, example: str) -> Parser:
        made = subparsers.add_parser(
            name,
            help=text,
            description=f"{text[:1].upper()}{text[1:]}.",
            epilog=f"example:\n  {example}\n\n{_EXIT_STATUS}",
        )
        # Given before the verb or after it; what is not given after it must not undo what was given before.
        _add_common(made, argparse.SUPPRESS, json=argparse.SUPPRESS)
        made.set_defaults(function=function, parser=made)
        return made

    known = _verbs()
    first = argv[0] if argv else ""
    if first and first not in known and not first.startswith("-"):
        parser.error(f"there is no verb {first!r}{_meant(first, known)}")
    for name in (first,) if first in known else known:
        known[name](add, name)
    return parser


def _meant(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - for this one error only

    nearest = get_close_matches(word, known, 1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; there are {', '.join(known)}"


def _verbs() -> dict[str, Callable[[Add, str], None]]:
    """Return what adds each verb to a parser, in the order of the help."""
    return {
        "resolve": _add_resolve,
        "list": _add_list,
        "explain": _add_explain,
        "status": _add_status,
        "watch": _add_watch,
        "check": _add_check,
        "plan": _add_plan,
        "reload": _add_reload,
        "generations": _add_generations,
        "diff": _add_diff,
        "gc": _add_gc,
        "import": _add_import,
        "export": _add_export,
        "version": _add_version,
    }


def _add_resolve(add: Add, name: str) -> None:
    example = "ctr run --rm $(runtimectl resolve gvisor --format ctr) IMAGE ID"
    made = add(name, verbs.resolve, "show the shim and the options for a runtime", example)
    made.add_argument("name", nargs="?", default="", metavar="NAME", help="the runtime (default: the default runtime)")
    text = "as generation N had it, also if it is gone since"
    made.add_argument("--generation", type=_number, metavar="N", help=text)
    made.add_argument("--digest", metavar="DIGEST", help="with --generation: only the answer that has this digest")
    text = (
        "ctr: the words for `ctr run`; any: type_url and base64 of the options; path: the binary; json: as --json. "
        "Exit status 1 if the answer has no such form"
    )
    made.add_argument("--format", choices=("ctr", "json", "any", "path"), help=text)


def _add_list(add: Add, name: str) -> None:
    add(name, verbs.list_runtimes, "list the runtimes and whether each can be used", "runtimectl list")


def _add_explain(add: Add, name: str) -> None:
    made = add(name, verbs.explain, "show what a name really is, and why", "runtimectl explain gvisor")
    made.add_argument("name", type=_name, metavar="NAME", help="the runtime")


def _add_status(add: Add, name: str) -> None:
    add(name, verbs.status, "show how the daemon is, and why", "runtimectl status --json | jq .health")


def _add_watch(add: Add, name: str) -> None:
    text = "show reloads, changes of health and of binaries as they happen"
    made = add(name, verbs.watch, text, "runtimectl watch --json | jq -r .type")
    text = "begin with the events after number SEQ; 0: with all that the daemon has kept since its start"
    made.add_argument("--since", type=_number, metavar="SEQ", help=text)


def _add_check(add: Add, name: str) -> None:
    example = "runtimectl check /tmp/daemon.json && mv /tmp/daemon.json /etc/runtimed/"
    made = add(name, verbs.check, "check a configuration without a daemon", example)
    made.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="main file, then drop-ins; - is standard input (default: those in place)",
    )
    _add_verbose(made)


def _add_plan(add: Add, name: str) -> None:
    made = add(name, verbs.plan, "show what a reload would change, and do not do it", "sudo runtimectl plan")
    made.add_argument("--exit-code", action="store_true", help="exit with 3 if it would change something")
    _add_verbose(made)


def _add_reload(add: Add, name: str) -> None:
    made = add(name, verbs.reload, "have the daemon read its configuration now", "sudo runtimectl reload")
    made.add_argument("--dry-run", action="store_true", help="say in short what it would do (plan: in full)")
    _add_verbose(made)


def _add_generations(add: Add, name: str) -> None:
    add(name, verbs.generations, "list the generations that can be asked", "runtimectl generations")


def _add_diff(add: Add, name: str) -> None:
    made = add(name, verbs.diff, "show what differs between two generations", "runtimectl diff 6 7")
    made.add_argument("old", type=_number, metavar="G1", help="the number of a generation")
    made.add_argument("new", type=_number, metavar="G2", help="the number of another")
    made.add_argument("--exit-code", action="store_true", help="exit with 3 if something differs")


def _add_import(add: Add, name: str) -> None:
    from runtimed.cli.moving import add_import  # noqa: PLC0415 - of use to this verb alone

    add_import(add, name)


def _add_export(add: Add, name: str) -> None:
    from runtimed.cli.moving import add_export  # noqa: PLC0415 - of use to this verb alone

    add_export(add, name)


def _add_gc(add: Add, name: str) -> None:
    example = "sudo runtimectl gc --dry-run"
    made = add(name, verbs.gc, "remove wrappers that nothing refers to any more", example)
    made.add_argument("--dry-run", action="store_true", help="say what could be removed, and do not do it")


def _add_version(add: Add, name: str) -> None:
    add(name, verbs.version, "show the versions of runtimectl and of the daemon", "runtimectl version")


def _number(text: str) -> int:
    # As the daemon reads it: what int() takes besides (blanks, signs, underscores) is no number of a generation.
    if text.isascii() and text.isdigit() and len(text) <= _NUMBER_MAX_DIGITS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{printable(repr(text))} is not a whole number")


def _name(text: str) -> str:
    if text:
        return text
    raise argparse.ArgumentTypeError("it is empty")


def _add_verbose(parser: Parser) -> None:
    parser.add_argument("--verbose", action="store_true", help="name every key that is ignored")


def _add_common(parser: Parser, socket: str | None, *, json: bool | str) -> None:
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=socket,
        help="the daemon's socket (default: RUNTIMED_SOCKET, your own daemon's, /run/runtimed/runtimed.sock)",
    )
    parser.add_argument("--json", action="store_true", default=json, help="print the daemon's JSON, on one line")
