"""The code blocks of README.md and of the manual pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import runtimed

CHECKOUT = Path(runtimed.__file__).parents[1]
README = CHECKOUT / "README.md"
PAGES = tuple(sorted((CHECKOUT / "etc/man").glob("*.scd")))
# The line above a block that is not run says why.
_NOTE = re.compile(r"<!-- not run: (.+) -->|; not run: (.+)")


@dataclass(frozen=True, slots=True)
class Block:
    """A code block: its language, its text, and the reason why it is not run, None if it is."""

    file: Path
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}"


def read_blocks(file: Path) -> Iterator[Block]:
    """Yield each code block of a document."""
    lines = file.read_text().splitlines()
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    for begin, end in zip(fences[::2], fences[1::2], strict=True):
        text = "".join(f"{line}\n" for line in lines[begin + 1 : end])
        before = next((line for line in reversed(lines[:begin]) if line), "")
        note = _NOTE.fullmatch(before)
        yield Block(file, begin + 1, lines[begin][3:] or _language(text), text, (note[1] or note[2]) if note else None)


def _language(text: str) -> str:
    """Return the language of a block in a manual page, which names none."""
    begins = {">>> ": "pycon", "{": "json", "[Service]": "ini"}
    return next((language for begin, language in begins.items() if text.startswith(begin)), "sh")


BLOCKS = tuple(block for file in (README, *PAGES) for block in read_blocks(file))
