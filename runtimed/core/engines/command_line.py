"""Reads the command line of a running engine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import zip_longest

from runtimed.core.errors import Problem
from runtimed.core.message_text import printable


def remarks_on_file(words: Sequence[str], flags: Collection[str], usual: str, written: str) -> tuple[Problem, ...]:
    """Return a remark on the file ``written`` if one of ``flags`` names another main file than ``usual``."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        flag, has_value, value = word.partition("=")
        path = value if has_value else following
        if flag in flags and path != usual:
            reason = "is a link to it" if written == usual else "imports it"
            text = f"{words[0]} runs with {flag} {path}, and reads this file only if that one {reason}"
            return (Problem(printable(text), written),)
    return ()
