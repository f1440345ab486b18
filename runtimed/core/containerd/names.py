"""Names of runtimes: which are stock, which containerd may be given verbatim, which file a name gets."""

from __future__ import annotations

import hashlib
import re

from runtimed.core.errors import InvalidRuntimeName

RUNC_NAME = "runc"
RUNC_SHIM = "io.containerd.runc.v2"
# Known on every node without configuration; only the second may be configured to mean something else.
STOCK_NAMES = (RUNC_NAME, RUNC_SHIM)

_SHIM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)

# Everything that stands for itself in a file name. Capitals do not: two names that differ only in
# case must not meet in one file where the file system folds case.
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-.")
# With "-" and 32 digits of a wrapper's digest this stays below the 143 bytes that eCryptfs allows.
_FILE_NAME_MAX = 100
# Most names: the loop below would give the same.
_PLAIN_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,99}", re.ASCII)
_DIGEST_DIGITS = 32


def is_permissible_shim_name(name: str) -> bool:
    """Return whether ``name``, which nobody configured, may be passed to containerd as a shim name.

    dockerd asks only for a dot inside the name; what it lets through (blanks, options) would let
    whoever may ask put words on the command line of whoever pastes the answer.
    """
    return "." in name and _SHIM_NAME.fullmatch(name) is not None


def is_implicit(name: str) -> bool:
    """Return whether ``name``, which nobody configured, stands for the shim of that name; False: it is unknown.

    The decision is dockerd's, stricter in what goes to containerd as it is.

    Raises:
        InvalidRuntimeName: the name looks like a shim or a path, and may not be passed to containerd.
    """
    if is_permissible_shim_name(name):
        return True
    if "." in name or "/" in name:
        raise InvalidRuntimeName(name)
    return False


def file_name(name: str) -> str:
    """Return the file name that the runtime ``name`` gets on disk: at most 100 bytes, never hidden, never an option.

    The name itself where it is plain; other bytes of its UTF-8 form as ``%xx``; beyond 100 bytes a
    beginning, ``~`` and a digest. No two names share a file name, also where case is folded.
    """
    if _PLAIN_NAME.fullmatch(name):
        return name
    encoded = name.encode()
    escaped = "".join(
        chr(byte) if byte in _PLAIN and not (index == 0 and byte in b".-") else f"%{byte:02x}"
        for index, byte in enumerate(encoded)
    )
    if len(escaped) <= _FILE_NAME_MAX:
        return escaped
    digest = hashlib.sha256(encoded).hexdigest()[:_DIGEST_DIGITS]
    return f"{escaped[: _FILE_NAME_MAX - _DIGEST_DIGITS - 1]}~{digest}"


def shim_binary_name(shim: str) -> str:
    """Return the file name of the shim's binary, or ``shim`` itself where it is a path.

    containerd's rule (``runtime/v2/shim/util.go``): the last two parts of the name, so that
    ``io.containerd.kata.v2`` is ``containerd-shim-kata-v2``. Empty for a name with fewer than two parts.
    """
    if shim.startswith("/"):
        return shim
    kind, version = ("", *shim.split("."))[-2:]
    return f"containerd-shim-{kind}-{version}" if kind and version else ""
