"""Reads the output of a runtime's binary: its features and its version.

``<binary> features`` prints the *Features structure* of the OCI runtime specification (``features.md``), a JSON object.
It is passed on to strict clients, so output that is not JSON by RFC 8259 in UTF-8 is refused.
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

# runc prints 9 KB; one long call of json would block the event loop.
MAX_BYTES = 256 * 1024
# features.md needs five levels.
MAX_DEPTH = 32
# Strict clients read integers into 64 bits with a sign.
_MAX_INTEGER = 2**63 - 1
_LINE_MAX = 200


@dataclass(frozen=True, slots=True)
class Features:
    """The result of probing a binary."""

    status: Literal["known", "unknown", "pending"]
    # The Features structure if the status is known, otherwise the reason why not.
    features: Mapping[str, object] | None = None
    # The first line of `<binary> --version`, probed if the features are unknown.
    version: str | None = None
    reason: str | None = None
    # Why the kernel refused to execute the binary.
    refusal: str | None = None

    def as_dict(self) -> shapes.Features:
        """Return the JSON shape."""
        return {
            "status": self.status,
            "features": None if self.features is None else dict(self.features),
            "version": self.version,
            "reason": self.reason,
        }


PENDING = Features("pending", reason="the binary is being probed; repeat the request later")


class _InvalidFeatures(Exception):
    """The output is not a Features structure; the text completes "what `features` prints ..."."""


def read_features(exit_status: int, stdout: bytes, stderr: bytes) -> Features:
    """Return the features from the output of ``<binary> features``, or the reason why they are unknown.

    ``exit_status`` is negative if a signal ended the process, as in :mod:`subprocess`.
    """
    if exit_status != 0:
        line = first_line(stderr) or first_line(stdout)
        ended = f"was ended by signal {-exit_status}" if exit_status < 0 else f"ended with exit status {exit_status}"
        return Features("unknown", reason=f"`features` {ended}" + (f": {line}" if line else ""))
    try:
        return Features("known", MappingProxyType(_parsed(stdout)))
    except RecursionError:
        reason = f"is nested more than {MAX_DEPTH} deep"
    except _InvalidFeatures as error:
        reason = str(error)
    return Features("unknown", reason=f"what `features` prints {reason}")


def read_version(exit_status: int, stdout: bytes) -> str | None:
    """Return the first line of the output of ``<binary> --version``, None if it failed or printed nothing."""
    return (first_line(stdout) or None) if exit_status == 0 else None


def first_line(output: bytes) -> str:
    """Return the first line of ``output`` that is not blank, formatted for a message; "" if all lines are blank."""
    # A character has four bytes at most; the rest of a line of megabytes need not be decoded.
    start = output.lstrip()[: 4 * _LINE_MAX].decode(errors="replace")
    line = printable(start.partition("\n")[0].strip())
    return line if len(line) <= _LINE_MAX else f"{line[:_LINE_MAX]}…"


def _parsed(output: bytes) -> dict[str, object]:
    if len(output) > MAX_BYTES:
        raise _InvalidFeatures(f"is {len(output):,} bytes long, more than {MAX_BYTES:,}")
    if not output.strip():
        raise _InvalidFeatures("is empty, not a JSON object")
    try:
        value = json.loads(output.decode(), parse_constant=_reject_constant, parse_float=_finite)
    except ValueError as exc:  # of json, of UTF-8, and of an integer with thousands of digits
        raise _InvalidFeatures(f"is not JSON ({first_line(str(exc).encode())}): {first_line(output)}") from None
    if not isinstance(value, dict):
        raise _InvalidFeatures(f"is not a JSON object: {first_line(output)}")
    _check(value, 1)
    return value


def _reject_constant(text: str) -> NoReturn:
    raise _InvalidFeatures(f"holds {text}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _InvalidFeatures(f"holds a number out of range: {first_line(text.encode())}")
    return value


def _check(value: object, depth: int) -> None:
    """Raise _InvalidFeatures for a value that some client would not accept."""
    if depth > MAX_DEPTH:
        raise _InvalidFeatures(f"is nested more than {MAX_DEPTH} deep")
    match value:
        case dict():
            for key, inner in value.items():
                _check(key, depth)
                _check(inner, depth + 1)
        case list():
            for inner in value:
                _check(inner, depth + 1)
        case str() if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise _InvalidFeatures("holds half of a surrogate pair, which is not a character")
        case int() if abs(value) > _MAX_INTEGER:
            raise _InvalidFeatures("holds an integer of more than 64 bits")
