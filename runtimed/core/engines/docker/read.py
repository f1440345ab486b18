"""Translates dockerd's daemon.json into a drop-in that has the same effect.

dockerd ignores unknown keys inside of a runtime, and has a shell read the arguments; the drop-in has the result.
Hence the drop-in carries no keys of dockerd. Carried keys of other engines stay, because runtimed may read this file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from runtimed.core.configuration import keys
from runtimed.core.configuration.document import Document, parse_document
from runtimed.core.configuration.position import Pointer
from runtimed.core.containerd.options import message_of
from runtimed.core.engines.engine import Original
from runtimed.core.engines.translation import Reader, Translation, is_option
from runtimed.core.message_text import called, shown

_TAKEN_OVER = frozenset({"runtimes", "default-runtime", "exec-opts", "runtimed"})
_FIELDS = frozenset({"path", "runtimeargs", "runtimetype", "options", "engines"})
# Characters that a POSIX shell, or bash as sh, acts on; blanks end a word, and it removes quotes and backslashes.
_ACTIVE = re.compile(r"[$`;&|<>()*?\[{\x00-\x08\x0a-\x1f]|(?:^|[ \t])[#~]")


class ShellSyntax(Exception):
    """A shell would do more with a text than split it; ``found`` is the piece that it would act on."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


def read_docker(original: Original) -> Translation:
    """Return the drop-in for the runtimes of ``original``, a daemon.json.

    Raises:
        ConfigurationRejected: the file is not a daemon.json, or runtimed would not accept the translation.
    """
    return _DockerReader(parse_document(original.source), original.renames).read()


def split_by_shell(args: Sequence[str]) -> list[str]:
    """Return the words that a shell makes of ``args``, which dockerd's wrappers pass to it unquoted.

    Raises:
        ShellSyntax: the shell would expand or run something, or fail.
    """
    text = " ".join(args)
    if found := _ACTIVE.search(text):
        raise ShellSyntax(found[0].strip() or found[0])
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise ShellSyntax("a quotation mark or backslash that nothing follows") from exc


class _DockerReader(Reader):
    def __init__(self, document: Document, renames: Mapping[str, str]) -> None:
        super().__init__(renames)
        self._document = document

    def read(self) -> Translation:
        dropin: dict[str, object] = {}
        for key, value in self._document.value.items():
            if key == "runtimes" and isinstance(value, dict):
                dropin[key] = {name: self._entry(name, raw) for name, raw in value.items()}
            elif key in _TAKEN_OVER:
                if value is not None:
                    dropin[key] = value
            elif key in keys.SETTINGS:
                text = "configures dockerd; runtimed has its own setting of that name, which stays as it is"
                self._remark((key,), text)
            elif key in keys.IGNORED:
                self._remark((key,), "configures dockerd only; left out")
            elif keys.misspelt(key) is not None:
                # The check of the drop-in rejects it.
                dropin[key] = value
            else:
                self._remark((key,), "dockerd refuses this key; left out")
        return self.finish(dropin, self._document.key_location)

    def _remark(self, at: Pointer, message: str) -> None:
        self.remark(self._document.key_location(at), message)

    def _entry(self, name: str, raw: object) -> object:
        """Return one runtime of the drop-in; the check of the drop-in rejects values of a wrong type."""
        if not isinstance(raw, dict):
            return raw
        # dockerd ignores the case of these keys.
        given = {key.casefold(): value for key, value in raw.items()}
        entry: dict[str, object] = {}
        for key, value in raw.items():
            at, field = ("runtimes", name, key), key.casefold()
            if field not in _FIELDS:
                self._remark(at, "left out: dockerd ignores this key of a runtime")
                continue
            if field == "runtimeargs" and given.get("path"):
                entry[key] = self._arguments(at, value)
            elif field == "options":
                entry[key] = self._options(at, given.get("runtimetype"), value)
            else:
                entry[key] = value
            if field == "path" and given.get("runtimeargs"):
                self._remark_path(at, value)
        return entry

    def _arguments(self, at: Pointer, value: object) -> object:
        if not isinstance(value, list) or not all(isinstance(arg, str) for arg in value):
            return value
        try:
            words = split_by_shell(value)
        except ShellSyntax as exc:
            found = shown(exc.found) if len(exc.found) == 1 else exc.found
            message = (
                f"runtime {called(str(at[1]))}: dockerd has a shell read these arguments, and it would interpret "
                f"{found}; runtimed passes each argument on unchanged, so write what the runtime is to get"
            )
            location = self._document.key_location(at)
            self.problems.append(location.problem(message, found, "arguments that a shell leaves as they are"))
            return value
        if words != value:
            result = ", ".join(shown(word) for word in words)
            self._remark(at, f"dockerd has a shell split these arguments; the drop-in has the result: [{result}]")
        return words

    def _remark_path(self, at: Pointer, path: object) -> None:
        if not isinstance(path, str) or not path:
            return
        try:
            unchanged = split_by_shell([path]) == [path]
        except ShellSyntax:
            unchanged = False
        if not unchanged:
            text = "dockerd's wrapper cannot execute this path, because a shell reads it; runtimed's can"
            self._remark(at, text)

    def _options(self, at: Pointer, runtime_type: object, value: object) -> object:
        """Return the options that dockerd would pass on; it drops unknown ones."""
        if not isinstance(value, dict) or not isinstance(runtime_type, str):
            return value
        message = message_of(runtime_type)
        for key in value:
            if not is_option(key, message):
                text = f"dockerd ignores this key, which is no option of {message}, and so does the translation"
                self._remark((*at, key), text)
        return {key: option for key, option in value.items() if is_option(key, message)}
