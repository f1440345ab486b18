"""A resolution as other programs take it: the words of ``ctr run``, an Any in two words, a path.

What ``ctr`` does with its flags was tried with containerd 1.6.20 and agrees with its ``cmd/ctr/commands/run``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Document = Mapping[str, Any]

_OTHER_FORMS = "--format any and --format json have all of it, for containerd's API"
_RUNC_SHIM = "io.containerd.runc.v2"
_RUNC = "containerd.runc.v1.Options"
_GENERIC = "runtimeoptions.v1.Options"
# The flags that end in a field of the options message.
_FLAGS = {
    _RUNC: {"binary_name": "--runc-binary", "root": "--runc-root", "systemd_cgroup": "--runc-systemd-cgroup"},
    _GENERIC: {"config_path": "--runtime-config-path"},
}
_NO_PIVOT = "; its --no-pivot is an options message of its own, for which containerd drops the container's"
# What stands for itself in a word wherever a shell reads it; "~" does not at the start.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./_-~")


class NoSuchForm(Exception):
    """An answer has no such form; ``hint`` says which it has."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


def render_ctr(resolution: Document) -> str:
    """Return the words for one ``ctr run``, fit for an unquoted ``$(…)``: a shell would neither split nor expand them.

    Raises:
        NoSuchForm: a word would not stay as it is, or a field that is set has no flag.
    """
    return " ".join(_ctr_words(resolution))


def render_any(resolution: Document) -> str:
    """Return type_url and value (base64) of the options, a blank between them.

    Raises:
        NoSuchForm: there are none.
    """
    options = resolution["options"]
    if options is None:
        raise NoSuchForm(
            f"{resolution['runtime']} has no options: its shim is given none",
            "create the container with the shim alone, and without options",
        )
    # All its fields may have their default values, which protobuf encodes as nothing.
    return f"{options['type_url']} {options['value']}".rstrip()


def render_path(resolution: Document) -> str:
    """Return the binary that the answer names: that of its options, or a shim that is a path.

    Raises:
        NoSuchForm: it names none, or one that is no line of text.
    """
    shim = str(resolution["shim"])
    path = str(_fields(resolution).get("binary_name") or (shim if shim.startswith("/") else ""))
    if not path:
        raise NoSuchForm(
            f"{resolution['runtime']} names no binary, only the shim {shim}",
            f"runtimectl explain {resolution['runtime']} shows what runs in the end",
        )
    if not path.isprintable():
        raise NoSuchForm(f"the path {path!r} holds what is no printable character", "--format json has it exactly")
    return path


def _ctr_words(resolution: Document) -> Iterator[str]:
    shim = str(resolution["shim"])
    # What has its default value is the same when it is left out.
    fields = {field: value for field, value in _fields(resolution).items() if value}
    flags = _flags(shim, resolution["options"]["type_url"]) if fields else {}
    if without := [field for field in fields if field not in flags]:
        why = _NO_PIVOT if "no_pivot_root" in without else ""
        raise NoSuchForm(f"ctr has no flag for {', '.join(without)} with the shim {shim!r}{why}", _OTHER_FORMS)
    yield "--runtime"
    yield _word("shim", shim)
    for field, value in fields.items():
        yield flags[field]
        if value is not True:
            yield _word(field, str(value))
        if field == "systemd_cgroup":
            # ctr 1.6 and 2 require a control group with this flag, and take its name as SLICE:PREFIX:NAME. The answer
            # does not know the container, and two containers cannot share one: the name is another one every time.
            yield from ("--cgroup", f"machine.slice:runtimed:{os.urandom(8).hex()}")


def _flags(shim: str, type_url: str) -> dict[str, str]:
    """Return the flag for each field that ctr can put into the options of ``shim``.

    It chooses the message by the shim, and knows runc's fields for runc's second shim only: given to another,
    --runc-binary is an error, and --runc-root is dropped without a word.
    """
    return _FLAGS.get(type_url, {}) if (type_url == _RUNC) == (shim == _RUNC_SHIM) else {}


def _word(field: str, text: str) -> str:
    """Return ``text``, which a shell will pass on as it is, and ctr take for a value."""
    for character in text:
        if character not in _PLAIN and (character.isascii() or not character.isprintable()):
            reason = f"the {field} {text!r} holds {character!r}, which a shell may split or expand in $(...)"
            raise NoSuchForm(reason, _OTHER_FORMS)
    if text[:1] in ("-", "~", ""):
        what = f"begins with {text[0]!r}, which reads like an option or a home directory" if text else "is empty"
        raise NoSuchForm(f"the {field} {text!r} {what}", _OTHER_FORMS)
    return text


def _fields(resolution: Document) -> Document:
    options = resolution["options"]
    return {} if options is None else dict(options["fields"])
