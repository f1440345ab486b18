"""Renders a runtime for other programs: arguments of ``ctr run`` and ``nerdctl run``, an Any, its stable path.

How ``ctr`` treats its flags was tried with containerd 1.6.20 and agrees with its ``cmd/ctr/commands/run``. Those of
``nerdctl`` are read in ``generateRuntimeCOpts`` of its ``pkg/cmd/container``, in versions 1.0 to 2.3.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from runtimed.cli.tables import Document

_OTHER_FORMATS = "--format any and --format json contain all of it, for containerd's API"
_RUNC_SHIM = "io.containerd.runc.v2"
_RUNC = "containerd.runc.v1.Options"
_GENERIC = "runtimeoptions.v1.Options"
# The flags that end in a field of the options message.
_FLAGS = {
    _RUNC: {"binary_name": "--runc-binary", "root": "--runc-root", "systemd_cgroup": "--runc-systemd-cgroup"},
    _GENERIC: {"config_path": "--runtime-config-path"},
}
_NO_PIVOT = "; its --no-pivot makes another options message, for which containerd drops the one of the container"
# The beginnings of names that nerdctl takes for a shim, and for a shim with runc's options. Other words are binaries.
_NERDCTL_SHIM = "io.containerd."
_NERDCTL_RUNC = "io.containerd.runc."
# The end of the root that runtimed gives to runtimes with a path (core.history.layout).
_OWN_ROOT = "/runtime-runc"
# Characters that a shell never interprets, "~" only at the start of a word.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./_-~")


class FormatUnavailable(Exception):
    """A resolution cannot be written in a format; ``hint`` names another way."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


def render_ctr(resolution: Document) -> str:
    """Return arguments for ``ctr run`` that are safe in an unquoted ``$(…)``: a shell neither splits nor expands them.

    Raises:
        FormatUnavailable: an argument is not safe, or an option has no flag.
    """
    return " ".join(_ctr_words(resolution))


def render_nerdctl(resolution: Document) -> str:
    """Return arguments for ``nerdctl run``, or another of its commands, as safe as those of `render_ctr`.

    A root that runtimed has chosen is left out: nerdctl has none, and containerd's default is as good.

    Raises:
        FormatUnavailable: an argument is not safe, or nerdctl has no flag for an option.
    """
    return " ".join(_nerdctl_words(resolution))


def render_any(resolution: Document) -> str:
    """Return type_url and value (base64) of the options, separated by a blank.

    Raises:
        FormatUnavailable: the runtime has no options.
    """
    options = resolution["options"]
    if options is None:
        raise FormatUnavailable(
            f"{resolution['runtime']} has no options: containerd passes none to its shim",
            "create the container with the shim alone, and without options",
        )
    # protobuf encodes a message whose fields all have their default values as zero bytes.
    return f"{options['type_url']} {options['value']}".rstrip()


def render_path(runtime: Document) -> str:
    """Return the stable path of a runtime, from its description.

    Raises:
        FormatUnavailable: the runtime has no stable path, or its stable path is not printable.
    """
    path = runtime["stable_path"]
    if path is None:
        raise FormatUnavailable(
            f"{runtime['name']} has no stable path, because its definition has no path: it is the shim "
            f"{runtime['shim']}",
            f"an engine is given the shim; runtimectl explain {runtime['name']} shows it",
        )
    if not path.isprintable():
        raise FormatUnavailable(f"the path {path!r} holds a character that is not printable", "use --format json")
    return str(path)


def _ctr_words(resolution: Document) -> Iterator[str]:
    shim = str(resolution["shim"])
    # A field that has its default value can be left out.
    fields = {field: value for field, value in _fields(resolution).items() if value}
    flags = _flags(shim, resolution["options"]["type_url"]) if fields else {}
    if without := [field for field in fields if field not in flags]:
        why = _NO_PIVOT if "no_pivot_root" in without else ""
        raise FormatUnavailable(f"ctr has no flag for {', '.join(without)} with the shim {shim!r}{why}", _OTHER_FORMATS)
    yield "--runtime"
    yield _word("shim", shim)
    for field, value in fields.items():
        yield flags[field]
        if value is not True:
            yield _word(field, str(value))
        if field == "systemd_cgroup":
            # ctr 1.6 and 2 require a control group with this flag, as SLICE:PREFIX:NAME. Two containers cannot share
            # one, and the resolution does not know the container, so the name is random.
            yield from ("--cgroup", f"machine.slice:runtimed:{os.urandom(8).hex()}")


def _nerdctl_words(resolution: Document) -> Iterator[str]:
    shim = str(resolution["shim"])
    fields = {field: value for field, value in _fields(resolution).items() if value}
    is_runc = shim.startswith(_NERDCTL_RUNC)
    known: tuple[str, ...] = ()
    if is_runc:
        known = ("systemd_cgroup", "binary_name") if shim == _RUNC_SHIM else ("systemd_cgroup",)
    own_root = str(fields.get("root", "")).endswith(_OWN_ROOT)
    if without := [field for field in fields if field not in known and not (own_root and field == "root")]:
        reason = f"nerdctl has no flag for {', '.join(without)} with the shim {shim!r}"
        raise FormatUnavailable(reason, _OTHER_FORMATS)
    binary = fields.get("binary_name")
    if binary is None and not shim.startswith(_NERDCTL_SHIM):
        raise FormatUnavailable(f"nerdctl would take the shim {shim!r} for a runc binary", _OTHER_FORMATS)
    if binary is not None and str(binary).startswith(_NERDCTL_SHIM):
        raise FormatUnavailable(f"nerdctl would take the binary_name {binary!r} for a shim", _OTHER_FORMATS)
    yield "--runtime"
    yield _word("shim", shim) if binary is None else _word("binary_name", str(binary))
    if is_runc:
        # Always, because nerdctl's default depends on its configuration and on the node.
        yield from ("--cgroup-manager", "systemd" if fields.get("systemd_cgroup") else "cgroupfs")


def _flags(shim: str, type_url: str) -> dict[str, str]:
    """Return the flag for each field that ctr can put into the options of ``shim``.

    ctr chooses the message by the shim, and knows runc's fields for runc's second shim only: for another shim it
    refuses --runc-binary, and silently drops --runc-root.
    """
    return _FLAGS.get(type_url, {}) if (type_url == _RUNC) == (shim == _RUNC_SHIM) else {}


def _word(field: str, text: str) -> str:
    """Return ``text`` if a shell passes it on unchanged, and ctr takes it for a value."""
    for character in text:
        if character not in _PLAIN and (character.isascii() or not character.isprintable()):
            reason = f"the {field} {text!r} holds {character!r}, which a shell may split or expand in $(...)"
            raise FormatUnavailable(reason, _OTHER_FORMATS)
    if text[:1] in ("-", "~", ""):
        fault = f"begins with {text[0]!r}, which reads like an option or a home directory" if text else "is empty"
        raise FormatUnavailable(f"the {field} {text!r} {fault}", _OTHER_FORMATS)
    return text


def _fields(resolution: Document) -> Document:
    options = resolution["options"]
    return {} if options is None else dict(options["fields"])
