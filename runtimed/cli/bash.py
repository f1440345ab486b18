"""A command line as bash has it while it is being typed, and words as they are to be put there.

Bash hands a completion the line as it was typed, quotes and all, and has readline replace what *it* takes for the
last word: from an open quotation mark on, or from the last of the characters in COMP_WORDBREAKS (bash(1), readline(3)).
"""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""(?P<blank>[ \t\n]+) | (?P<redirection>\d*[<>][<>&|]*)
    | '(?P<single>[^']*)(?P<single_end>'?) | "(?P<double>(?:\\.|[^"\\])*\\?)(?P<double_end>"?)
    | \\(?P<escaped>.?) | (?P<plain>.)""",
    re.DOTALL | re.VERBOSE,
)
# What a backslash takes its meaning from within double quotation marks; a ! cannot be helped there.
_QUOTED_ESCAPE = re.compile(r'\\([\\"$`])')
_QUOTED_SPECIAL = re.compile(r'[\\"$`]')
# Whatever may mean something to the shell, somewhere; letters of no alphabet do.
_SPECIAL = re.compile(r"[^\w@%+=:,./-]")


class Line:
    """What was typed: ``words`` that are whole, and the ``current`` one, both without their quotation marks."""

    __slots__ = ("_quote", "_start", "current", "redirected", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.current = ""
        # Whether the current word is where output goes, or where input comes from.
        self.redirected = False
        # How much of the current word stays as it is, and the mark that is open behind that.
        self._start = 0
        self._quote = ""

    def replacement(self, word: str) -> str:
        """Return what readline is to put in place of what it takes for the current word, so that it is ``word``."""
        rest = word[self._start :]
        if self._quote == "'":
            return rest.replace("'", r"'\''")
        special = _QUOTED_SPECIAL if self._quote else _SPECIAL
        return special.sub(lambda match: f"\\{match[0]}", rest)

    def take(self, piece: re.Match[str], breaks: str) -> None:
        """Go on with the next piece of the line."""
        kind = piece.lastgroup
        if kind in ("single_end", "double_end"):
            quote, text = ("'", piece["single"]) if kind == "single_end" else ('"', piece["double"])
            if not piece[kind]:
                self._start, self._quote = len(self.current), quote
            self.current += text if quote == "'" else _QUOTED_ESCAPE.sub(r"\1", text)
        elif kind == "escaped":
            self.current += piece["escaped"]
        else:
            self.current += piece["plain"]
            if piece["plain"] in breaks:
                self._start = len(self.current)

    def end_word(self) -> None:
        """Begin a new word; what output is redirected to is none of the command's."""
        if not self.redirected:
            self.words.append(self.current)
        self.current, self.redirected, self._start = "", False, 0


def read_line(line: str, breaks: str) -> Line:
    """Return what ``line``, a single command up to the cursor, is made of; ``breaks`` is COMP_WORDBREAKS."""
    found = Line()
    begun = False
    for piece in _PIECE.finditer(line):
        if piece.lastgroup not in ("blank", "redirection"):
            found.take(piece, breaks)
            begun = True
            continue
        if begun:
            found.end_word()
        begun = False
        found.redirected = found.redirected or piece.lastgroup == "redirection"
    return found
