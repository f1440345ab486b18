"""Renders the table file: the current generation as one JSON object, for readers without the daemon.

The first line holds everything but the resolutions, each further line one resolution, the last line the end. A raw
newline never occurs inside of JSON text, so a reader may search for the line of one name instead of parsing the file.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as _quote

from runtimed.core.table.generation import Generation
from runtimed.core.table.resolve import resolve

# Raised when a reader of the earlier format would misunderstand the file.
FORMAT = 1


def render_table_file(generation: Generation, time_s: float) -> bytes:
    """Return the content of the table file that is written at ``time_s``, in seconds since the epoch."""
    default = generation.config.default_runtime
    head = {"format": FORMAT, "generation": generation.number, "digest": generation.digest, "time": time_s}
    first = json.dumps({**head, "default_runtime": default, "runtimes": {}}, separators=(",", ":")).encode()
    answers = {name: runtime.answer for name, runtime in generation.runtimes.items()}
    if default not in answers:
        # It is the name of a shim that is not configured, which the empty name resolves to.
        answers[default] = resolve(generation, default).answer
    # Not json.dumps() and `Answer.at`, which take twice as long for a large table.
    number = generation.number
    entries = [b"%b:%b%d%b" % (_quote(name).encode(), a.head, number, a.tail) for name, a in answers.items()]
    # One join, because each copy of a large table holds the interpreter's lock for a while. Stock runtimes are always
    # there, so there are entries.
    entries[0] = first.removesuffix(b"}}") + b"\n" + entries[0]
    entries[-1] += b"\n}}\n"
    return b",\n".join(entries)
