"""dockerd's daemon.json -> a drop-in that means the same.

The same as what dockerd makes of the file, that is, where it makes something else of it than what it says:
it ignores what it does not know inside of a runtime, and has a shell read the arguments.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from runtimed.core.config import Source
from runtimed.core.configuration import keys
from runtimed.core.configuration.document import Document, parse_document
from runtimed.core.configuration.position import Pointer, Spot
from runtimed.core.containerd.options import MESSAGES, message_of
from runtimed.core.engines.acceptance import accept
from runtimed.core.engines.translation import Remark, Translation, TranslationRejected
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called, shown

_TAKEN_OVER = frozenset({"runtimes", "default-runtime", "exec-opts", "runtimed"})
_FIELDS = frozenset({"path", "runtimeargs", "runtimetype", "options"})
# What a POSIX shell, or bash under its name, does more with than to end a word. (Quotes and backslashes it removes.)
_ACTIVE = re.compile(r"[$`;&|<>()*?\[{\x00-\x08\x0a-\x1f]|(?:^|[ \t])[#~]")


class NotWords(Exception):
    """A shell would do more with a text than split it; ``found`` is the piece it would act on."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


def read_docker(source: Source, renames: Mapping[str, str] = MappingProxyType({})) -> Translation:
    """Return the drop-in that says what the daemon.json in ``source`` does; ``renames`` is old name -> new name.

    Raises:
        ConfigurationRejected: it is no daemon.json. TranslationRejected: runtimed would not take the translation.
    """
    document = parse_document(source)
    remarks: list[Remark] = []
    problems: list[Problem] = []
    dropin: dict[str, object] = {}
    for key, value in document.value.items():
        if key == "runtimes" and isinstance(value, dict):
            dropin[key] = {name: _entry(document, name, raw, remarks, problems) for name, raw in value.items()}
        elif key in _TAKEN_OVER:
            if value is not None:
                dropin[key] = value
        elif key in keys.SETTINGS:
            text = "is how dockerd itself runs; runtimed has its own setting of that name, which is left as it is"
            remarks.append(Remark(document.key_spot((key,)), text))
        elif key in keys.IGNORED:
            remarks.append(Remark(document.key_spot((key,)), "is dockerd's own business and left out"))
        elif keys.misspelt(key) is not None:
            # runtimed's check below refuses it.
            dropin[key] = value
        else:
            remarks.append(Remark(document.key_spot((key,)), "dockerd refuses this key; left out"))
    try:
        return Translation(accept(dropin, renames, document.key_spot, problems), tuple(remarks))
    except ConfigurationRejected as rejection:
        raise TranslationRejected(rejection, tuple(remarks)) from rejection


def _entry(document: Document, name: str, raw: object, remarks: list[Remark], problems: list[Problem]) -> object:
    """Return a runtime as runtimed has it; what has a wrong type is left for the check."""
    if not isinstance(raw, dict):
        return raw
    # dockerd matches keys without regard to case.
    given = {key.casefold(): value for key, value in raw.items()}
    entry: dict[str, object] = {}
    for key, value in raw.items():
        at = ("runtimes", name, key)
        if key.casefold() not in _FIELDS:
            text = "dockerd ignores this key of a runtime, and so does the translation"
            remarks.append(Remark(document.key_spot(at), text))
        elif key.casefold() == "runtimeargs" and given.get("path"):
            entry[key] = _arguments(document, at, value, remarks, problems)
        elif key.casefold() == "options":
            entry[key] = _options(document, at, given.get("runtimetype"), value, remarks)
        else:
            if key.casefold() == "path" and given.get("runtimeargs"):
                remarks += _path_remarks(document.key_spot(at), value)
            entry[key] = value
    return entry


def split_by_shell(args: Sequence[str]) -> list[str]:
    """Return the words that a shell makes of ``args``, which dockerd's wrappers hand to it unquoted.

    Raises:
        NotWords: it would expand something, run something, or complain.
    """
    text = " ".join(args)
    if found := _ACTIVE.search(text):
        raise NotWords(found[0].strip() or found[0])
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise NotWords("a quotation mark or backslash that nothing follows") from exc


def _arguments(
    document: Document, at: Pointer, value: object, remarks: list[Remark], problems: list[Problem]
) -> object:
    if not isinstance(value, list) or not all(isinstance(arg, str) for arg in value):
        return value
    spot = document.key_spot(at)
    try:
        words = split_by_shell(value)
    except NotWords as exc:
        found = shown(exc.found) if len(exc.found) == 1 else exc.found
        message = (
            f"runtime {called(str(at[1]))}: dockerd has a shell read these arguments, and {found} is no plain text to "
            "it; runtimed passes each argument on as it stands, so write what is meant to arrive"
        )
        problems.append(spot.problem(message, found, "arguments that a shell leaves as they are"))
        return value
    if words != value:
        text = f"dockerd has a shell split these arguments; written as what arrives: {_listed(words)}"
        remarks.append(Remark(spot, text))
    return words


def _listed(words: Sequence[str]) -> str:
    return f"[{', '.join(shown(word) for word in words)}]"


def _path_remarks(spot: Spot, path: object) -> list[Remark]:
    if not isinstance(path, str):
        return []
    try:
        same = split_by_shell([path]) == [path]
    except NotWords:
        same = False
    text = "dockerd's wrapper cannot execute this path, because a shell reads it; runtimed's can"
    return [] if same or not path else [Remark(spot, text)]


def _options(document: Document, at: Pointer, runtime_type: object, value: object, remarks: list[Remark]) -> object:
    """Return the options that dockerd would pass on: it drops what it does not know."""
    if not isinstance(value, dict) or not isinstance(runtime_type, str):
        return value
    message = message_of(runtime_type)
    known = {field.go_name.casefold() for field in MESSAGES[message]}
    kept: dict[str, object] = {}
    for key, option in value.items():
        if key.casefold() in known:
            kept[key] = option
        else:
            text = f"dockerd ignores this key, which is no option of {message}, and so does the translation"
            remarks.append(Remark(document.key_spot((*at, key)), text))
    return kept
