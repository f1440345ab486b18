"""Classifies the names of runtimes, and derives file names and shim binaries from them."""

from __future__ import annotations

import hashlib
import re

from runtimed.core.errors import InvalidRuntimeName

RUNC_NAME = "runc"
RUNC_SHIM = "io.containerd.runc.v2"
# The runtimes of every node; the configuration may override the second only.
STOCK_NAMES = (RUNC_NAME, RUNC_SHIM)

_SHIM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)

# The bytes of a name that its file name keeps. Capitals are escaped, because two names that differ only in case need
# different files on a file system that folds case.
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-.")
# With "-" and the 32 digits of a wrapper's digest this is less than the 143 bytes that eCryptfs allows.
_FILE_NAME_MAX = 100
_DIGEST_DIGITS = 32
# Most names need no escape; the loop in file_name() would return the same.
_PLAIN_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,99}", re.ASCII)


def is_permissible_shim_name(name: str) -> bool:
    """Return whether an unconfigured ``name`` may be passed to containerd as a shim's name.

    dockerd requires only a dot inside the name. The blanks and options that it accepts would let a client put words on
    the command line of anyone who pastes the resolution.
    """
    return "." in name and _SHIM_NAME.fullmatch(name) is not None


def is_implicit(name: str) -> bool:
    """Return whether an unconfigured ``name`` is that of a shim, by dockerd's rule but stricter; False: it is unknown.

    Raises:
        InvalidRuntimeName: the name looks like a shim or a path, and must not be passed to containerd.
    """
    if is_permissible_shim_name(name):
        return True
    if "." in name or "/" in name:
        raise InvalidRuntimeName(name)
    return False


def file_name(name: str) -> str:
    """Return the file name of the runtime ``name``: at most 100 bytes, neither hidden nor an option.

    Bytes that are not plain become ``%xx``; a longer name is cut and gets ``~`` and a digest. Different names have
    different file names, also on a file system that folds case.
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
    """Return the file name of the shim's binary, ``shim`` itself for a path, "" for a name of fewer than two parts.

    containerd (``runtime/v2/shim/util.go``) takes the last two parts of the name: ``io.containerd.kata.v2`` is
    ``containerd-shim-kata-v2``.
    """
    if shim.startswith("/"):
        return shim
    kind, version = ("", *shim.split("."))[-2:]
    return f"containerd-shim-{kind}-{version}" if kind and version else ""
