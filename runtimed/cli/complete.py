"""Lists the words that can come next on a command line of runtimectl, for the completions of shells (cli/completions).

Verbs and options come from the parser, names and numbers from the daemon. Errors are silent, because a message would
disturb the command line that is being typed.
"""

from __future__ import annotations

from argparse import Action
from collections.abc import Iterator, Sequence

from runtimed.cli import verbs
from runtimed.cli.bash import read_line
from runtimed.cli.parser import Parser
from runtimed.cli.render import what_runs
from runtimed.client import Client, ClientError

# A word and its description, for shells that show one.
Candidate = tuple[str, str]

# Exit status: the word is a file name, which the shell completes better.
FILES = 3
# A person waits for the completion.
_TIMEOUT_S = 1.0


class _Position:
    """The state of the parser after the complete words.

    ``waiting`` is the option whose value comes next, ``socket`` the value of --socket.
    """

    __slots__ = ("_after_dashes", "parser", "positionals", "socket", "waiting")

    def __init__(self, parser: Parser) -> None:
        self.parser = parser
        self.positionals = parser.positionals
        self.waiting: Action | None = None
        self.socket: str | None = None
        # After "--" no word is an option.
        self._after_dashes = False

    def advance(self, word: str) -> None:
        """Go on after ``word``."""
        if self.waiting is not None:
            self._set_value(self.waiting, word)
            self.waiting = None
        elif self.may_be_option(word):
            option, equals, value = word.partition("=")
            action = self.parser.options.get(option)
            self._after_dashes = word == "--"
            if action is not None and action.nargs != 0:
                self._set_value(action, value)
                self.waiting = None if equals else action
        elif self.positionals and isinstance(self.positionals[0].choices, dict):
            # Nothing can be suggested after an unknown verb.
            self.parser = self.positionals[0].choices.get(word) or Parser(add_help=False)
            self.positionals = self.parser.positionals
        elif self.positionals and self.positionals[0].nargs != "*":
            self.positionals = self.positionals[1:]

    def may_be_option(self, word: str) -> bool:
        """Return whether ``word`` is an option, or the beginning of one."""
        return word.startswith("-") and not self._after_dashes

    def _set_value(self, action: Action, word: str) -> None:
        if action.dest == "socket":
            self.socket = word or None

    def expected(self, current: str) -> tuple[Action | None, str]:
        """Return the argument that ``current`` gives a value to, None if it is an option, and the text before it."""
        if self.waiting is not None:
            return self.waiting, ""
        if self.may_be_option(current):
            option, equals, _ = current.partition("=")
            action = self.parser.options.get(option)
            return (action, f"{option}=") if equals and action is not None and action.nargs != 0 else (None, "")
        return self.positionals[0] if self.positionals else None, ""

    def values(self, action: Action | None) -> Iterator[Candidate]:
        """Yield the values of ``action``, whose metavar says of which kind they are; all options for None."""
        client = Client(self.socket, timeout_s=_TIMEOUT_S)
        if action is None:
            yield from ((name, each.help or "") for name, each in self.parser.options.items() if name.startswith("--"))
        elif isinstance(action.choices, dict):
            yield from ((name, parser.description or "") for name, parser in action.choices.items())
        elif action.choices is not None:
            yield from ((str(choice), "") for choice in action.choices)
        elif action.metavar == "NAME":
            for runtime in client.runtimes()["runtimes"]:
                if not self.may_be_option(runtime["name"]):
                    yield runtime["name"], what_runs(runtime) + (", the default runtime" if runtime["default"] else "")
        elif action.metavar in ("N", "G1", "G2"):
            for generation in client.generations()["generations"]:
                yield str(generation["generation"]), f"default {generation['default_runtime']}"


def complete(parser: Parser, argv: Sequence[str]) -> int:
    """Print the words that can stand in place of the last word, a candidate a line.

    ``argv`` is ``words WORD...``, the words after the program's name: then each line is a candidate, a tab and its
    description. Or it is ``bash LINE BREAKS``, the line up to the cursor and COMP_WORDBREAKS: then each line is the
    text for readline to insert.
    """
    shell, *words = argv or ("words",)
    line = read_line(*words) if shell == "bash" else None
    if line is not None:
        words = [*line.words[1:], line.current]
    position = _Position(parser)
    for word in words[:-1]:
        position.advance(word)
    current = words[-1] if words else ""
    action, prefix = position.expected(current)
    if (line is not None and line.redirected) or (action is not None and action.metavar in ("FILE", "PATH")):
        return FILES
    try:
        found = [(prefix + value, text) for value, text in position.values(action)]
    except ClientError:
        return verbs.OK
    # A name that is not printable cannot be typed.
    found = [(word, text) for word, text in found if word.startswith(current) and word.isprintable()]
    verbs.print_lines(line.replacement(word) if line is not None else f"{word}\t{text}" for word, text in found)
    return verbs.OK
