"""The manifest: what a generation's directory on disk says of the generation, whole or not at all.

A manifest carries its own checksum and that of the configuration beside it, so that a file that was
cut short or damaged is told from one that was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from runtimed import __version__
from runtimed.core.config import Config, Documents, Flags, Origin, Settings, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import DamagedManifest
from runtimed.core.history.layout import CONFIG, LAYOUT
from runtimed.core.table.generation import Difference, Generation, compare_answers
from runtimed.core.table.wrapper import is_wrapper_file, make_wrapper

if TYPE_CHECKING:
    from runtimed.core import shapes

_CHECKSUM = b',\n"checksum": "sha256:%b"\n}\n'
_CHECKSUM_LENGTH = len(_CHECKSUM % (b"0" * 64))
# How many lines of a table are read at a time: some 0.3 ms.
_STEP = 64


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was published under a number.

    ``created_s`` is in seconds since the epoch; ``configuration`` is the main file's path; ``links``
    maps names in the generation's ``runtimes/`` to the wrapper files of its runtimes, ``carried`` those
    of runtimes that were dropped earlier and not collected yet; ``answers`` maps runtime names to
    resolutions.
    """

    number: int
    digest: str
    created_s: float
    configuration: str
    sources: tuple[str, ...]
    origins: Mapping[str, Origin]
    default_runtime: str
    config_checksum: str
    links: Mapping[str, str]
    carried: Mapping[str, str]
    answers: Mapping[str, shapes.Resolution]
    # The data root that the answers name.
    data_root: str


def render_manifest(generation: Generation, carried: Mapping[str, str], created_s: float) -> bytes:
    """Return the bytes of the manifest of ``generation``, whose ``runtimes/`` holds ``carried`` besides its own."""
    config = generation.config
    head: dict[str, object] = {
        "layout": LAYOUT,
        "version": __version__,
        "generation": generation.number,
        "digest": generation.digest,
        "created": created_s,
        "configuration": config.path,
        "sources": list(config.sources),
        "default_runtime": config.default_runtime,
        "config_checksum": checksum(generation.config_text),
        "host": asdict(generation.host),
    }
    names = {runtime.wrapper.link: name for name, runtime in generation.runtimes.items() if runtime.wrapper}
    tables: dict[str, Mapping[str, str]] = {
        "links": {wrapper.link: _json(wrapper.file) for wrapper in generation.wrappers},
        "carried": {link: _json(file) for link, file in carried.items()},
        "names": {link: _json(name) for link, name in names.items()},
        "origins": {name: _origin_text(origin) for name, origin in config.origins.items()},
        "answers": {name: r.answer.at(generation.number).decode() for name, r in generation.runtimes.items()},
    }
    # Rendered entry by entry: one json.dumps of a large table would hold up the event loop.
    parts = [f"{_json(key)}: {_json(value)}" for key, value in head.items()]
    for key, table in tables.items():
        entries = ",\n".join(f"{_json(name)}: {text}" for name, text in table.items())
        parts.append(f"{_json(key)}: {{\n{entries}\n}}")
    body = ("{\n" + ",\n".join(parts)).encode()
    return body + _CHECKSUM % hashlib.sha256(body).hexdigest().encode()


def read_manifest(data: bytes, number: int) -> Manifest:
    """Return what the manifest ``data``, found in the directory of generation ``number``, says.

    Raises:
        DamagedManifest: the bytes are not what was written, or not by a layout this version knows.
    """
    if not is_whole_manifest(data):
        raise DamagedManifest(number, "its checksum does not fit its content")
    try:
        return _manifest(_load(data[:-_CHECKSUM_LENGTH] + b"\n}"), number)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedManifest(number, f"it lacks what a manifest has: {error!r}") from error


def is_whole_manifest(data: bytes) -> bool:
    """Return whether ``data`` ends in the checksum of all that stands before it."""
    body = data[:-_CHECKSUM_LENGTH]
    return data[-_CHECKSUM_LENGTH:] == _CHECKSUM % hashlib.sha256(body).hexdigest().encode()


def _load(text: bytes) -> Any:
    """Return the JSON object that `render_manifest` wrote as ``text``, read in steps of some lines.

    A single json.loads of a large table would hold up the event loop, from whichever thread it is called.
    """
    found: dict[str, Any] = {}
    lines = text.split(b"\n")[1:-1]
    at = 0
    while at < len(lines):
        if not lines[at].endswith(b": {"):
            found |= json.loads(b"{%b}" % lines[at].rstrip(b","))
            at += 1
            continue
        table: dict[str, Any] = found.setdefault(json.loads(lines[at][:-3]), {})
        closing = (index for index in range(at + 1, len(lines)) if lines[index] in (b"}", b"},"))
        end = next(closing, len(lines))
        for step in range(at + 1, end, _STEP):
            table |= json.loads(b"{%b}" % b"".join(lines[step : min(step + _STEP, end)]).rstrip(b","))
        at = end + 1
    return found


def _manifest(found: Any, number: int) -> Manifest:
    if found["layout"] != LAYOUT or found["generation"] != number:
        reason = f"layout {found['layout']!r} and generation {found['generation']!r} do not belong here"
        raise DamagedManifest(number, reason)
    if not all(is_wrapper_file(file) for key in ("links", "carried") for file in found[key].values()):
        raise DamagedManifest(number, "it names a wrapper that is none")
    return Manifest(
        number=number,
        digest=found["digest"],
        created_s=found["created"],
        configuration=found["configuration"],
        sources=tuple(found["sources"]),
        origins={name: _origin(entry) for name, entry in found["origins"].items()},
        default_runtime=found["default_runtime"],
        config_checksum=found["config_checksum"],
        links=found["links"],
        carried=found["carried"],
        answers=found["answers"],
        data_root=found["host"]["data_root"],
    )


def restore_config(manifest: Manifest, config_text: bytes, defaults: Settings, flags: Flags) -> Config:
    """Return the configuration that the generation of ``manifest`` was built from, with ``flags`` on top.

    Raises:
        ConfigurationRejected: this version of the program no longer takes ``config_text``.
    """
    config = _parse_text(manifest.configuration, config_text, defaults, flags)
    # What stands in the text stood elsewhere before; a flag's origin, which has no line, is a flag of now.
    origins = {n: o if o.line is None else manifest.origins.get(n, o) for n, o in config.origins.items()}
    return replace(config, sources=manifest.sources, origins=origins)


def compare_with_manifest(manifest: Manifest, new: Generation) -> Difference:
    """Return what a client of the generation of ``manifest`` finds different in ``new``."""
    digests = {name: str(answer["digest"]) for name, answer in manifest.answers.items()}
    return compare_answers(digests, manifest.default_runtime, new)


def rebuild_wrappers(config_text: bytes) -> Mapping[str, bytes]:
    """Return the wrappers, file name -> text, of a generation whose merged configuration is ``config_text``.

    Raises:
        ConfigurationRejected: as for :func:`restore_config`.
    """
    config = _parse_text(CONFIG, config_text, Settings(data_root="/", exec_root="/", hosts=()), Flags())
    made = (make_wrapper(d.name, d.path, d.args) for d in config.runtimes.values() if d.path and d.args)
    return {wrapper.file: wrapper.text for wrapper in made}


def _parse_text(path: str, config_text: bytes, defaults: Settings, flags: Flags) -> Config:
    documents = Documents(path, Source(path, config_text))
    return parse_configuration(documents, flags, defaults, most=None)


def checksum(data: bytes) -> str:
    """Return the checksum of ``data`` as manifests write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: object) -> str:
    return json.dumps(value)


def _origin_text(origin: Origin) -> str:
    return _json([origin.file, origin.line, dict(origin.fields)])


def _origin(entry: tuple[str, int | None, Mapping[str, int]]) -> Origin:
    file, line, fields = entry
    return Origin(file, line, fields)
