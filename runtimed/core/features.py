"""What a runtime's binary says of itself, read from what it printed.

``<binary> features`` prints the *Features structure* of the OCI runtime specification (``features.md``), one
JSON object. Whatever a binary prints goes into answers that strict clients parse, so nothing is let through
that JSON (RFC 8259, UTF-8) could not carry to all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NoReturn

from runtimed.core.message_text import printable

if TYPE_CHECKING:
    from runtimed.core import shapes

# runc prints 9 KB, and one long call into json would hold up the event loop.
MAX_BYTES = 256 * 1024
# features.md needs five levels.
MAX_DEPTH = 32
# What a signed 64-bit integer holds: what the strictest of clients reads.
_MAX_INTEGER = 2**63 - 1
_LINE_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Features:
    """What a binary says of itself.

    ``features`` is the Features structure where it is ``known``. Otherwise ``reason`` says in words why not, and
    ``version`` is the first line of ``<binary> --version`` where it has printed one. ``pending``: ask again later.
    ``refusal`` is the reason where the kernel refused to execute the binary.
    """

    status: Literal["known", "unknown", "pending"]
    features: Mapping[str, object] | None = None
    version: str | None = None
    reason: str | None = None
    refusal: str | None = None

    def as_dict(self) -> shapes.Features:
        """Return the JSON shape."""
        return {
            "status": self.status,
            "features": None if self.features is None else dict(self.features),
            "version": self.version,
            "reason": self.reason,
        }


PENDING = Features("pending", reason="the binary is being asked at this moment; ask again")


class _Refused(ValueError):
    """What was printed is JSON in name only."""


def read_features(exit_status: int, stdout: bytes, stderr: bytes) -> Features:
    """Return what ``<binary> features`` says: known, or unknown and why.

    ``exit_status`` is negative where a signal ended the process, as in :mod:`subprocess`.
    """
    if exit_status != 0:
        said = first_line(stderr) or first_line(stdout)
        return Features("unknown", reason=f"`features` {_ended(exit_status)}" + (f": {said}" if said else ""))
    try:
        return Features("known", MappingProxyType(_parsed(stdout)))
    except (_Refused, RecursionError) as error:
        reason = str(error) if isinstance(error, _Refused) else f"is nested more than {MAX_DEPTH} deep"
        return Features("unknown", reason=f"what `features` prints {reason}")


def read_version(exit_status: int, stdout: bytes) -> str | None:
    """Return the first line that ``<binary> --version`` printed, None where it failed or printed nothing."""
    return (first_line(stdout) or None) if exit_status == 0 else None


def first_line(output: bytes) -> str:
    """Return the first line of ``output`` that is not blank, fit for a message; "" where there is none."""
    # Four bytes a character at most: a line of megabytes is not decoded to show its beginning.
    start = output.lstrip()[: 4 * _LINE_SHOWN].decode(errors="replace")
    line = printable(start.partition("\n")[0].strip())
    return line if len(line) <= _LINE_SHOWN else f"{line[:_LINE_SHOWN]}…"


def _ended(exit_status: int) -> str:
    return f"was ended by signal {-exit_status}" if exit_status < 0 else f"ended with exit status {exit_status}"


def _parsed(output: bytes) -> dict[str, object]:
    if len(output) > MAX_BYTES:
        raise _Refused(f"is {len(output):,} bytes long, more than {MAX_BYTES:,}")
    if not output.strip():
        raise _Refused("is empty, not a JSON object")
    try:
        value = json.loads(output.decode(), parse_constant=_no_number, parse_float=_number)
    except _Refused:
        raise
    except ValueError as exc:  # json's, UTF-8's, and that of an integer with thousands of digits
        raise _Refused(f"is not JSON ({first_line(str(exc).encode())}): {first_line(output)}") from None
    if not isinstance(value, dict):
        raise _Refused(f"is not a JSON object: {first_line(output)}")
    _check(value, 1)
    return value


def _no_number(text: str) -> NoReturn:
    raise _Refused(f"holds {text}, which is not JSON")


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"holds a number out of range: {first_line(text.encode())}")
    return value


def _check(value: object, depth: int) -> None:
    """Raise _Refused for what some client would not take."""
    if depth > MAX_DEPTH:
        raise _Refused(f"is nested more than {MAX_DEPTH} deep")
    match value:
        case dict():
            for key, inner in value.items():
                _check(key, depth)
                _check(inner, depth + 1)
        case list():
            for inner in value:
                _check(inner, depth + 1)
        case str() if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise _Refused("holds half of a surrogate pair, which is no character")
        case int() if abs(value) > _MAX_INTEGER:
            raise _Refused("holds an integer of more than 64 bits")
