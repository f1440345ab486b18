"""Asks podman for the path of each runtime: ``podman --runtime NAME info``, which reads the configuration as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from runtimed.core.engines.engine import Asking, Document, Question, Run, View

_VERSION, _DEFAULT, _RUNTIME = "version", "default", "runtime "
# Each takes 0.15 s, and they are asked every minute.
_NAMES_MAX = 32
# podman opens its storage first, which a service may not be able to write to, so each question has a new storage.
# The script succeeds where podman fails: podman fails for an unknown name, and its error is the answer.
_SCRIPT = """\
directory=$(mktemp -d) || exit
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' TERM INT
podman --root "$directory/root" --runroot "$directory/run" --tmpdir "$directory/tmp" \\
  --storage-driver vfs --events-backend file "$@" info --format '{{json .Host.OCIRuntime}}' 2>&1 || :
"""
# Fails if podman is missing, which the script does not. podman reads its configuration even for this: an empty one.
_VERSION_RUN = Run(("podman", "--version"), {"CONTAINERS_CONF": "/dev/null"})
# podman describes no runtime that fails to print its version, but this error has its name and path.
_NO_VERSION = re.compile(
    r"Getting info on OCI runtime (.+): getting version of OCI runtime \1: `(.+?) --version` failed"
)


def _questions(document: Document) -> Mapping[str, Question]:
    questions: dict[str, Question] = {_VERSION: _VERSION_RUN, _DEFAULT: _ask()}
    return questions | {f"{_RUNTIME}{name}": _ask("--runtime", name) for name in _asked(document)}


def _ask(*options: str) -> Run:
    return Run(("sh", "-c", _SCRIPT, "sh", *options))


def _asked(document: Document) -> dict[str, str]:
    """Return the path of each runtime that is asked for: the first 32 by name, because each question costs time.

    Of a larger table, only the comparison of the files covers the other runtimes.
    """
    engine = cast("Mapping[str, Mapping[str, list[str]]]", document["engine"])
    runtimes = engine["runtimes"]
    return {name: runtimes[name][0] for name in sorted(runtimes)[:_NAMES_MAX]}


def _expected(document: Document) -> View:
    engine = cast("Mapping[str, Any]", document["engine"])
    asked = _asked(document)
    return View(engine.get("runtime"), asked, len(engine["runtimes"]) - len(asked))


def _answered(answers: Mapping[str, bytes]) -> View:
    default = _parse(answers[_DEFAULT])
    if default is None:
        raise ValueError(f"podman does not have its default runtime: {answers[_DEFAULT].decode(errors='replace')}")
    found = {key.removeprefix(_RUNTIME): _parse(answers[key]) for key in answers if key.startswith(_RUNTIME)}
    return View(default["name"], {name: runtime["path"] for name, runtime in found.items() if runtime is not None})


def _parse(answer: bytes) -> Mapping[str, str] | None:
    """Return the name and the path of a runtime as podman describes it; None if it has no such runtime.

    Raises:
        ValueError: the answer is another error of podman, or not a description.
    """
    text = answer.decode(errors="replace").strip()
    # Warnings come before the answer.
    last = text.rpartition("\n")[2]
    if "default OCI runtime" in last and "not found" in last:
        return None
    if failure := _NO_VERSION.search(text):
        return {"name": failure[1], "path": failure[2]}
    try:
        found = json.loads(last)
    except ValueError:
        raise ValueError(last or "podman prints no output") from None
    match found:
        case {"name": str(), "path": str()}:
            return cast("Mapping[str, str]", found)
    raise ValueError(f"podman describes a runtime without its name and path: {last}")


ASKING = Asking(questions=_questions, expected=_expected, answered=_answered, process=None, takes_effect="at once")
