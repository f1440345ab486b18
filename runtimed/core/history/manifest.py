"""Writes and reads manifests, which describe the generations on disk.

A manifest names its parts, which hold the resolutions (`runtimed.core.history.parts`). It holds its own checksum and
that of the configuration beside it, which reveal a truncated or damaged file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from runtimed import __version__
from runtimed.core.config import Config, Origin, Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import DamagedManifest
from runtimed.core.history.layout import CONFIG, LAYOUT, WRAPPERS
from runtimed.core.history.parts import Part, require_scripts
from runtimed.core.table.build import make_scripts
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Difference, Generation, Host, Identity, compare_identities

if TYPE_CHECKING:
    from runtimed.core import shapes

_CHECKSUM = b',\n"checksum": "sha256:%b"\n}\n'
_CHECKSUM_LENGTH = len(_CHECKSUM % (b"0" * 64))
# The number of lines of a table that one call of json.loads() parses, in some 0.3 ms.
_STEP = 64


@dataclass(frozen=True)
class Manifest:
    """The description of a published generation."""

    number: int
    digest: str
    # Seconds since the epoch.
    created_s: float
    # The path of the main file.
    configuration: str
    # The files of the configuration with their checksums, which are "" where an earlier version kept none.
    sources: Mapping[str, str]
    origins: Mapping[str, Origin]
    default_runtime: str
    config_checksum: str
    # The parts of the table by their digests. An earlier version wrote one, without a digest, into the manifest.
    parts: Mapping[str, Part]
    # Stable paths of removed runtimes that were not collected yet -> the files that they lead to.
    carried: Mapping[str, str]
    # The host at that time, with the data root in the paths of the resolutions.
    host: Host
    # None where an earlier version kept none.
    trigger: shapes.Trigger | None = None
    changes: shapes.Changes | None = None

    @property
    def files(self) -> Iterator[str]:
        """Yield the wrappers and launchers of the generation's runtimes."""
        return (file for part in self.parts.values() for file in part.files(self.host.data_root))

    @property
    def has_wrappers(self) -> bool:
        """Whether a resolution names a wrapper."""
        return any(any(part.wrappers(self.host.data_root)) for part in self.parts.values())

    @property
    def runtime_count(self) -> int:
        """The number of runtimes."""
        return sum(len(part.answers) for part in self.parts.values())

    @cached_property
    def answers(self) -> Mapping[str, shapes.Resolution]:
        """The resolutions, sorted by name."""
        found: dict[str, shapes.Resolution] = {}
        for part in self.parts.values():
            found |= part.answers
        # In a part each answer has another number.
        return {name: self._numbered(found[name]) for name in sorted(found)}

    def _numbered(self, answer: shapes.Resolution) -> shapes.Resolution:
        answer = answer.copy()
        answer["generation"] = self.number
        return answer

    @property
    def links(self) -> Mapping[str, str]:
        """The files that the stable paths of the runtimes lead to."""
        return {link: file for part in self.parts.values() for link, file in part.links.items()}

    @property
    def identities(self) -> Mapping[str, Identity]:
        """The identities of the runtimes, by name."""
        parts = self.parts.values()
        return {n: (a["digest"], part.engines.get(n, "")) for part in parts for n, a in part.answers.items()}


def render_manifest(
    generation: Generation,
    parts: Sequence[str],
    carried: Mapping[str, str],
    created_s: float,
    trigger: shapes.Trigger | None = None,
    changes: shapes.Changes | None = None,
) -> bytes:
    """Return the manifest of ``generation``, whose parts have the digests ``parts``.

    ``carried`` are the links of removed runtimes (see `Manifest`).
    """
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
        "trigger": trigger,
        "changes": changes,
        "parts": list(parts),
    }
    tables: dict[str, Mapping[str, str]] = {
        "carried": {link: json.dumps(file) for link, file in carried.items()},
        "origins": _render_origins(config.origins),
        "checksums": {path: json.dumps(text) for path, text in config.sources.items()},
    }
    # Entry by entry, because one json.dumps() of a large table would block the event loop.
    pieces = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for key, table in tables.items():
        entries = ",\n".join([f"{encode_basestring_ascii(name)}: {text}" for name, text in table.items()])
        pieces.append(f"{json.dumps(key)}: {{\n{entries}\n}}")
    return seal(("{\n" + ",\n".join(pieces)).encode())


def _render_origins(origins: Mapping[str, Origin]) -> Mapping[str, str]:
    """Return the JSON text of each origin; an inserted line changes all of them, so this must be fast."""
    files = {file: json.dumps(file) for file in {origin.file for origin in origins.values()}}
    # Most entries have the same layout.
    below = {lines: json.dumps(dict(lines)) for lines in {origin.below for origin in origins.values()}}
    return {
        name: f"[{files[o.file]}, {'null' if o.line is None else o.line}, {below[o.below]}]"
        for name, o in origins.items()
    }


def _read_origins(found: Any) -> dict[str, Origin]:
    origins = found["origins"].items()
    if "parts" in found:
        return {name: Origin(file, line, tuple(below.items())) for name, (file, line, below) in origins}
    # A version without parts wrote the lines of the fields in the file.
    return {name: Origin.at(file, line, fields) for name, (file, line, fields) in origins}


def read_manifest(data: bytes, number: int, part: Callable[[str], Part]) -> Manifest:
    """Return the manifest in ``data``, the file in the directory of generation ``number``.

    ``part`` returns the part with a digest; it may raise ValueError.

    Raises:
        DamagedManifest: the file or a part is damaged, or belongs to another generation or layout.
    """
    if not is_sealed(data):
        raise DamagedManifest(number, "its checksum does not match its content")
    try:
        return _manifest(_load(unseal(data)), number, part)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedManifest(number, f"it is not a complete manifest: {error!r}") from error


def seal(body: bytes) -> bytes:
    """Return the JSON object ``body``, which lacks its last brace, with its checksum as the last key."""
    return body + _CHECKSUM % hashlib.sha256(body).hexdigest().encode()


def unseal(data: bytes) -> bytes:
    """Return ``data``, which `seal` has returned, without the checksum."""
    return data[:-_CHECKSUM_LENGTH] + b"\n}"


def is_sealed(data: bytes) -> bool:
    """Return whether ``data`` ends with the checksum of the bytes before it."""
    body = data[:-_CHECKSUM_LENGTH]
    return data[-_CHECKSUM_LENGTH:] == _CHECKSUM % hashlib.sha256(body).hexdigest().encode()


def _load(text: bytes) -> Any:
    """Return the JSON object that `render_manifest` wrote as ``text``.

    Reads `_STEP` lines at a time: one json.loads() of a large table would block the event loop, even in another thread.
    """
    manifest: dict[str, Any] = {}
    lines = iter(text.split(b"\n")[1:-1])
    for line in lines:
        if not line.endswith(b": {"):
            manifest |= json.loads(b"{%b}" % line.rstrip(b","))
            continue
        manifest[json.loads(line[:-3])] = read_entries(
            itertools.takewhile(lambda entry: entry not in (b"}", b"},"), lines)
        )
    return manifest


def read_entries(lines: Iterable[bytes]) -> dict[str, Any]:
    """Return the JSON object with the entries in ``lines``: one in each, and a comma after each but the last.

    Raises: ValueError.
    """
    found: dict[str, Any] = {}
    lines = iter(lines)
    while step := list(itertools.islice(lines, _STEP)):
        found |= json.loads(b"{%b}" % b"".join(step).rstrip(b","))
    return found


def _manifest(found: Any, number: int, part: Callable[[str], Part]) -> Manifest:
    if found["layout"] != LAYOUT or found["generation"] != number:
        found_here = f"layout {found['layout']!r}, generation {found['generation']!r}"
        raise DamagedManifest(number, f"{found_here}; expected layout {LAYOUT}, generation {number}")
    require_scripts(found["carried"].values())
    host = Host(**{**found["host"], "facts": Facts(**found["host"]["facts"])})
    return Manifest(
        number=number,
        digest=found["digest"],
        created_s=found["created"],
        configuration=found["configuration"],
        sources={**dict.fromkeys(found["sources"], ""), **found.get("checksums", {})},
        origins=_read_origins(found),
        default_runtime=found["default_runtime"],
        config_checksum=found["config_checksum"],
        parts={digest: part(digest) for digest in found["parts"]} if "parts" in found else {"": _inline(found, host)},
        carried=found["carried"],
        host=host,
        trigger=found.get("trigger"),
        changes=found.get("changes"),
    )


def _inline(found: Any, host: Host) -> Part:
    """Return the table of a manifest of a version without parts."""
    require_scripts(found["links"].values())
    # A version without launchers made links to the wrappers.
    wrappers = {link: f"{host.data_root}/{WRAPPERS}/{file}" for link, file in found["links"].items()}
    # A version without carried keys wrote none.
    more = found.get("targets", wrappers), found["names"], found.get("engines", {})
    return Part(found["answers"], found["links"], *more)


def restore_config(manifest: Manifest, config_text: bytes, defaults: Settings, flags: Flags) -> Config:
    """Return the configuration of the generation of ``manifest``, overridden by ``flags``.

    Raises:
        ConfigurationRejected: this version of the program does not accept ``config_text``.
    """
    config = _parse_text(manifest.configuration, config_text, defaults, flags)
    # Restore the origins before the merge, except of runtimes that a flag of this process defines: those have no line.
    origins = {n: o if o.line is None else manifest.origins.get(n, o) for n, o in config.origins.items()}
    return replace(config, sources=manifest.sources, origins=origins, parsed={})


def compare_with_manifest(manifest: Manifest, new: Generation) -> Difference:
    """Return the difference from the generation of ``manifest`` to ``new``."""
    defaults = manifest.default_runtime, new.config.default_runtime
    return compare_identities(manifest.identities, new.identities, defaults)


def rebuild_scripts(manifest: Manifest, config_text: bytes) -> Mapping[str, bytes]:
    """Return the wrappers and launchers, file name -> text, of the generation of ``manifest`` and ``config_text``.

    Raises:
        ConfigurationRejected: see `restore_config`.
    """
    config = _parse_text(CONFIG, config_text, Settings(data_root="/", exec_root="/", hosts=()), Flags())
    made = (make_scripts(d, manifest.host) for d in config.runtimes.values() if d.path)
    return {script.file: script.text for wrapper, launcher, _ in made for script in (wrapper, launcher) if script}


def _parse_text(path: str, config_text: bytes, defaults: Settings, flags: Flags) -> Config:
    return parse_configuration(Documents(path, Source(path, config_text)), flags, defaults, most=None)


def checksum(data: bytes) -> str:
    """Return the checksum of ``data`` in the form of manifests."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
