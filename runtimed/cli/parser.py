"""Defines the command line of runtimectl: its verbs, their arguments and help texts."""

from __future__ import annotations

import argparse
from functools import partial

from runtimed import __version__
from runtimed.cli import arguments, engine_verbs, verbs
from runtimed.core.message_text import printable

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

    from runtimed.client import Client

    # The function of a verb, its help text, an example, the function that adds its arguments.
    VerbRow = tuple[verbs.Verb, str, str, Callable[["Parser"], object] | None]

_PROGRAM = "runtimectl"
_EXIT_STATUS = """\
exit status:
  0         success
  1         the daemon refused the request: unknown name, rejected
            configuration, permission denied
  2         no daemon answers, or it is not trusted; or a usage error
  130, 141  interrupted; the reader of the output has gone
Some verbs have others, which runtimectl help VERB lists.
"""
# The exit statuses of verbs where they differ from those.
_OTHER_STATUSES = {
    "resolve": "  1  also: the resolution cannot be written in the format\n",
    "status": "  1  the daemon is degraded, or it refused the request\n",
    "check": "  1  the configuration would be rejected\n",
    "plan": "  1  the configuration would be rejected\n  3  with --exit-code: there are changes\n",
    "diff": "  3  with --exit-code: there are differences\n",
    "import": "  1  the file cannot be translated\n  2  the file cannot be read, or a usage error\n",
    "export": "  1  with --write: a file is not written\n",
    "sync": "  2  also: the engine has no file on this node\n",
    "metrics": "  1  with --textfile: the file is not written\n",
    "test": "  1  also: a test failed, or the daemon did not record it\n  2  also: the user is not root\n",
    "verify": "  1  an engine does not follow the table, or one that is named does not run\n",
}
# argparse passes each of its texts to its global `_`, which is gettext.gettext. That imports `locale` and looks for a
# catalogue "messages", which Python does not install: 3 % of the processor time of `runtimectl resolve`, and 60 system
# calls. argparse has no option for that. Only the time depends on this line: the texts are the same without it.
argparse._ = str  # type: ignore[attr-defined]
# Without a width argparse imports shutil for every parser, to ask for that of the terminal.
_HelpFormatter = partial(argparse.RawDescriptionHelpFormatter, width=78)
# The shell creates the file empty, and the daemon skips names with a leading dot.
_IMPORT_EXAMPLE = """\
cd /etc/runtimed/daemon.json.d &&
  runtimectl import docker /etc/docker/daemon.json > .new &&
  mv .new 50-docker.json"""


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors are a line and a hint, and whose arguments ``complete`` can list."""

    def __init__(self, **more: Any) -> None:
        super().__init__(formatter_class=_HelpFormatter, allow_abbrev=False, **more)

    @property
    def options(self) -> Mapping[str, argparse.Action]:
        """The options by the words that select them."""
        return self._option_string_actions

    @property
    def positionals(self) -> list[argparse.Action]:
        """The other arguments, in order."""
        return self._get_positional_actions()

    def error(self, message: str) -> NoReturn:
        """Print a usage error and exit."""
        verbs.fail(message, f"{self.prog} --help shows the usage")
        raise SystemExit(verbs.USAGE)


def make_parser(argv: Sequence[str]) -> Parser:
    """Return the parser for ``argv``; if that has a verb, with no other verb, because each takes time."""
    parser = Parser(
        prog=_PROGRAM,
        description="Show and reload the table of OCI runtimes that runtimed serves on this node.",
        epilog=_EXIT_STATUS,
    )
    _add_common(parser, None, json=False)
    parser.add_argument(
        "--version", "-v", action="version", version=f"runtimectl {__version__}", help="print the version and exit"
    )
    subparsers = parser.add_subparsers(metavar="VERB", required=True, prog=_PROGRAM)
    first = _first_word(argv)
    if first and first not in _VERBS and not first.startswith("-"):
        parser.error(_no_verb(first))
    for name in (first,) if first in _VERBS else _VERBS:
        function, text, example, add_arguments = _VERBS[name]
        statuses = f"\nexit status:\n{_OTHER_STATUSES[name]}" if name in _OTHER_STATUSES else ""
        made = subparsers.add_parser(
            name,
            help=text,
            description=f"{text[:1].upper()}{text[1:]}.",
            epilog=f"example:\n  {example}\n{statuses}",
        )
        # SUPPRESS: an option that is not given after the verb must not undo one that was given before it.
        _add_common(made, argparse.SUPPRESS, json=argparse.SUPPRESS)
        made.set_defaults(function=function, parser=made)
        if add_arguments is not None:
            add_arguments(made)
    return parser


def _first_word(argv: Sequence[str]) -> str:
    """Return the first word of ``argv`` behind the options of all verbs, if any; "" if there is none."""
    words = iter(argv)
    for word in words:
        if word == "--socket":
            next(words, None)
        elif word != "--json" and not word.startswith("--socket="):
            return word
    return ""


def _no_verb(word: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only this error needs it

    nearest = get_close_matches(word, _VERBS, 1)
    return f"there is no verb {word!r}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _help(_client: Client, args: argparse.Namespace) -> int:
    """Print the help of runtimectl or of a verb."""
    parser = make_parser(())
    if args.verb is not None:
        choices = parser.positionals[0].choices
        parser = choices[args.verb]  # type: ignore[index]  # the verbs and their parsers
    verbs.print_lines([parser.format_help().rstrip("\n")])
    return verbs.OK


def _add_help(parser: Parser) -> None:
    parser.add_argument("verb", nargs="?", type=_verb, choices=list(_VERBS), metavar="VERB", help="one of the verbs")


def _add_common(parser: Parser, socket: str | None, *, json: bool | str) -> None:
    text = "the daemon's socket (default: RUNTIMED_SOCKET, your own daemon's, /run/runtimed/runtimed.sock)"
    parser.add_argument("--socket", metavar="PATH", default=socket, help=text)
    parser.add_argument("--json", action="store_true", default=json, help="print JSON on one line")


def _verb(text: str) -> str:
    if text in _VERBS:
        return text
    raise argparse.ArgumentTypeError(printable(_no_verb(text)))


# In the order of the help.
_VERBS: dict[str, VerbRow] = {
    "resolve": (
        verbs.resolve,
        "show the shim and the options for a runtime",
        "ctr run --rm $(runtimectl resolve gvisor --format ctr) IMAGE ID",
        arguments.add_resolve,
    ),
    "list": (verbs.list_runtimes, "list the runtimes and whether each can be used", "runtimectl list", None),
    "explain": (verbs.explain, "show how a name resolves, and why", "runtimectl explain gvisor", arguments.add_explain),
    "containers": (
        verbs.containers,
        "list the containers that were started through stable paths",
        "runtimectl containers --json | jq '.containers[] | select(.outdated) | .id'",
        None,
    ),
    "status": (
        verbs.status,
        "show the health and the state of the daemon",
        "runtimectl status --json | jq .health",
        None,
    ),
    "watch": (
        verbs.watch,
        "show reloads, changes of health and of binaries as they happen",
        "runtimectl watch --json | jq -r .type",
        arguments.add_watch,
    ),
    "metrics": (
        verbs.metrics,
        "print the metrics for Prometheus, or write them to a file for node-exporter",
        "runtimectl metrics | grep ^runtimed_config",
        arguments.add_metrics,
    ),
    "check": (
        verbs.check,
        "check a configuration without a daemon",
        "runtimectl check /tmp/daemon.json && mv /tmp/daemon.json /etc/runtimed/",
        arguments.add_check,
    ),
    "plan": (verbs.plan, "show the changes that a reload would make", "sudo runtimectl plan", arguments.add_plan),
    "reload": (
        verbs.reload,
        "make the daemon read its configuration now",
        "sudo runtimectl reload",
        arguments.add_reload,
    ),
    "generations": (verbs.generations, "list the retained generations", "runtimectl generations", None),
    "history": (
        verbs.history,
        "show who changed the table, when, and other events",
        "runtimectl history --since yesterday",
        arguments.add_history,
    ),
    "diff": (verbs.diff, "show the differences between two generations", "runtimectl diff 6 7", arguments.add_diff),
    "gc": (verbs.gc, "remove unreferenced wrappers", "sudo runtimectl gc --dry-run", arguments.add_gc),
    "import": (
        engine_verbs.import_configuration,
        "translate an engine's configuration into a drop-in",
        _IMPORT_EXAMPLE,
        engine_verbs.add_import,
    ),
    "export": (
        engine_verbs.export_configuration,
        "translate the table into an engine's configuration, or write it there",
        "sudo runtimectl export containerd --write",
        engine_verbs.add_export,
    ),
    "verify": (
        engine_verbs.verify,
        "ask the engines of this node whether they follow the table",
        "sudo runtimectl verify docker",
        engine_verbs.add_verify,
    ),
    "sync": (
        engine_verbs.sync,
        "keep the file of an engine in step with the table, and verify the engine",
        "sudo runtimectl sync docker",
        engine_verbs.add_sync,
    ),
    "test": (
        engine_verbs.test,
        "start a tiny container with a runtime, and show the evidence",
        "sudo runtimectl test gvisor",
        engine_verbs.add_test,
    ),
    "version": (verbs.version, "show the versions of runtimectl and of the daemon", "runtimectl version", None),
    "help": (_help, "print help", "runtimectl help resolve", _add_help),
    "completion": (
        verbs.completion,
        "print the completion script of a shell",
        "source <(runtimectl completion bash)",
        arguments.add_completion,
    ),
}
