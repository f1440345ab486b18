"""Parses an incomplete bash command line, and quotes words for its completion.

bash passes the line as typed, with quotation marks, to a completion. readline then replaces *its* last word: from an
open quotation mark on, or from the last of the characters in COMP_WORDBREAKS (bash(1), readline(3)).
"""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""(?P<blank>[ \t\n]+) | (?P<redirection>\d*[<>][<>&|]*)
    | '(?P<single>[^']*)(?P<single_end>'?) | "(?P<double>(?:\\.|[^"\\])*\\?)(?P<double_end>"?)
    | \\(?P<escaped>.?) | (?P<plain>.)""",
    re.DOTALL | re.VERBOSE,
)
# Characters that a backslash escapes within double quotation marks; a "!" cannot be escaped there.
_QUOTED_ESCAPE = re.compile(r'\\([\\"$`])')
_QUOTED_SPECIAL = re.compile(r'[\\"$`]')
# Characters that a shell may interpret outside of quotation marks.
_SPECIAL = re.compile(r"[^\w@%+=:,./-]")


class Line:
    """The complete ``words`` of a command line and the ``current`` one, without quotation marks."""

    __slots__ = ("_quote", "_start", "current", "redirected", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.current = ""
        # Whether the current word is the file of a redirection.
        self.redirected = False
        # The length of the part of the current word that readline keeps, and the quotation mark that is open after it.
        self._start = 0
        self._quote = ""

    def replacement(self, word: str) -> str:
        """Return the text that readline must insert so that the current word becomes ``word``."""
        rest = word[self._start :]
        if self._quote == "'":
            return rest.replace("'", r"'\''")
        special = _QUOTED_SPECIAL if self._quote else _SPECIAL
        return special.sub(lambda match: f"\\{match[0]}", rest)

    def add(self, piece: re.Match[str], breaks: str) -> None:
        """Append a piece to the current word."""
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
        """Begin a new word, and forget the current one if it belongs to a redirection."""
        if not self.redirected:
            self.words.append(self.current)
        self.current, self.redirected, self._start = "", False, 0


def read_line(line: str, breaks: str) -> Line:
    """Return the words of ``line``, a single command up to the cursor; ``breaks`` is COMP_WORDBREAKS."""
    found = Line()
    begun = False
    for piece in _PIECE.finditer(line):
        if piece.lastgroup not in ("blank", "redirection"):
            found.add(piece, breaks)
            begun = True
            continue
        if begun:
            found.end_word()
        begun = False
        found.redirected = found.redirected or piece.lastgroup == "redirection"
    return found
