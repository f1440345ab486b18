"""Names of runtimes that a shell would make something else of, no two with one beginning."""

from __future__ import annotations

from pathlib import Path

ODD = (
    "two words",
    "don't",
    'say "hi"',
    "a/b",
    "gr\N{LATIN SMALL LETTER O WITH DIAERESIS}sse",
    "\N{CJK UNIFIED IDEOGRAPH-5BB9}\N{CJK UNIFIED IDEOGRAPH-5668}",
    "$HOME",
    "e;f",
    "nota:bene",
    "x=y",
    "wild*card",
    "~tilde",
    "back\\slash",
    "#hash",
    "(paren)",
    "`tick`",
    "!bang",
    "[bracket]",
    "q?mark",
    "h,i {j,k}",
    "%percent",
    "m&m",
    "<angle>",
    "p|pe",
    "\N{LATIN SMALL LETTER U WITH DIAERESIS}x y",
)
COMPLETIONS = Path(__file__).parents[2] / "etc/completions"
