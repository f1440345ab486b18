"""What may stand next on a command line of runtimectl: what the shells' completions ask (etc/completions).

Verbs and options are read off the parser, so they are never out of date. Names and numbers come from the daemon,
and where there is none there are none: nobody is told at a keypress.
"""

from __future__ import annotations

from runtimed.cli import verbs
from runtimed.cli.bash import read_line
from runtimed.cli.parser import Parser
from runtimed.cli.render import what_runs
from runtimed.client import Client, ClientError

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from argparse import Action
    from collections.abc import Iterable, Iterator, Sequence

    # A word, and what it is, for shells that show that.
    Candidate = tuple[str, str]

# Exit status: it is the name of a file that may stand there, and a shell knows those better.
FILES = 3
# Somebody waits for it.
_TIMEOUT_S = 1.0


class _FileWanted(Exception):
    """Raised where the name of a file may stand."""


class _Position:
    """Where a command line has got to: ``waiting`` is the option whose value comes next, ``socket`` what was given."""

    __slots__ = ("_bare", "parser", "places", "socket", "waiting")

    def __init__(self, parser: Parser) -> None:
        self.parser = parser
        self.places = parser.places
        self.waiting: Action | None = None
        self.socket: str | None = None
        # Behind --, where nothing is an option.
        self._bare = False

    def take(self, word: str) -> None:
        """Go on behind ``word``."""
        if self.waiting is not None:
            self._value(self.waiting, word)
            self.waiting = None
        elif self.may_be_option(word):
            option, equals, value = word.partition("=")
            action = self.parser.options.get(option)
            self._bare = word == "--"
            if action is not None and takes_value(action):
                self._value(action, value)
                self.waiting = None if equals else action
        elif self.places and isinstance(self.places[0].choices, dict):
            # Behind what is no verb nothing is known.
            self.parser = self.places[0].choices.get(word) or Parser(add_help=False)
            self.places = self.parser.places
        elif self.places and self.places[0].nargs != "*":
            self.places = self.places[1:]

    def may_be_option(self, word: str) -> bool:
        """Return whether ``word`` is one, or the beginning of one."""
        return word.startswith("-") and not self._bare

    def _value(self, action: Action, word: str) -> None:
        if action.dest == "socket":
            self.socket = word or None


def complete(parser: Parser, argv: Sequence[str]) -> int:
    """Print what may stand in place of the last word, a candidate a line.

    ``argv`` is ``words WORD...``, all that stands behind the program's name: then a tab and what it is stand behind
    each candidate. Or it is ``bash LINE BREAKS``, the line up to the cursor and COMP_WORDBREAKS: then the candidates
    are what readline is to put there.
    """
    shell, *words = argv or ("words",)
    line = read_line(*words) if shell == "bash" else None
    if line is not None:
        words = [*line.words[1:], line.current]
        if line.redirected:
            return FILES
    position = _Position(parser)
    for word in words[:-1]:
        position.take(word)
    current = words[-1] if words else ""
    try:
        found = [each for each in _candidates(position, current) if each[0].startswith(current)]
    except _FileWanted:
        return FILES
    except ClientError:
        return verbs.OK
    # What cannot be typed is not offered.
    typeable = [each for each in found if each[0].isprintable()]
    verbs.say(line.replacement(word) if line is not None else f"{word}\t{what}" for word, what in typeable)
    return verbs.OK


def takes_value(action: Action) -> bool:
    """Return whether a value stands behind the option."""
    return action.nargs != 0


def _candidates(position: _Position, current: str) -> Iterable[Candidate]:
    if position.waiting is not None:
        return _values(position.waiting, position)
    if position.may_be_option(current):
        option, equals, _ = current.partition("=")
        action = position.parser.options.get(option)
        if equals and action is not None and takes_value(action):
            return ((f"{option}={value}", what) for value, what in _values(action, position))
    elif position.places:
        return _values(position.places[0], position)
    return ((name, action.help or "") for name, action in position.parser.options.items() if name.startswith("--"))


def _values(action: Action, position: _Position) -> Iterator[Candidate]:
    """Yield what may stand in the place of ``action``, which its name in the help texts tells."""
    if isinstance(action.choices, dict):
        yield from ((name, parser.description or "") for name, parser in action.choices.items())
    elif action.choices is not None:
        yield from ((str(choice), "") for choice in action.choices)
    elif action.metavar in ("FILE", "PATH"):
        raise _FileWanted
    elif action.metavar == "NAME":
        for runtime in _client(position).runtimes()["runtimes"]:
            if not position.may_be_option(runtime["name"]):
                yield runtime["name"], what_runs(runtime) + (", the default runtime" if runtime["default"] else "")
    elif action.metavar in ("N", "G1", "G2"):
        for generation in _client(position).generations()["generations"]:
            yield str(generation["generation"]), f"default {generation.get('default_runtime', 'unknown')}"


def _client(position: _Position) -> Client:
    return Client(position.socket, timeout_s=_TIMEOUT_S)
