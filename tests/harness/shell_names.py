"""Defines names that several tests use: a shim, and runtimes whose names a shell would change."""

from __future__ import annotations

from pathlib import Path

KATA_SHIM = "containerd-shim-kata-v2"
# Each begins with another character.
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
COMPLETIONS = Path(__file__).parents[2] / "runtimed/cli/completions"
