"""Writes and reads manifests, which describe the generations on disk.

A manifest holds its own checksum and that of the configuration beside it, which reveal a truncated or damaged file.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from runtimed import __version__
from runtimed.core.config import Config, Documents, Flags, Origin, Settings, Source
from runtimed.core.configuration.parse import parse_configuration
from runtimed.core.errors import DamagedManifest
from runtimed.core.history.layout import CONFIG, LAYOUT, WRAPPERS
from runtimed.core.table.build import make_scripts
from runtimed.core.table.facts import Facts
from runtimed.core.table.generation import Difference, Generation, Host, Identity, compare_identities
from runtimed.core.table.script import is_script_file

if TYPE_CHECKING:
    from runtimed.core import shapes

_CHECKSUM = b',\n"checksum": "sha256:%b"\n}\n'
_CHECKSUM_LENGTH = len(_CHECKSUM % (b"0" * 64))
# The number of lines of a table that one call of json.loads() parses, in some 0.3 ms.
_STEP = 64


@dataclass(frozen=True, slots=True)
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
    # Names in the generation's runtimes/ -> the files that they lead to: of its runtimes, and of removed runtimes that
    # were not collected yet. The files are launchers, or wrappers where a version without launchers published them.
    links: Mapping[str, str]
    carried: Mapping[str, str]
    # The same names of the generation's runtimes -> the targets of their pins, and -> the names of the runtimes.
    targets: Mapping[str, str]
    names: Mapping[str, str]
    # Resolutions by name.
    answers: Mapping[str, shapes.Resolution]
    # The carried keys of the runtimes that have some, by name (see `Definition.engines`).
    engines: Mapping[str, str]
    # The host at that time, with the data root in the paths of the resolutions.
    host: Host
    # None where an earlier version kept none.
    trigger: shapes.Trigger | None = None
    changes: shapes.Changes | None = None

    @property
    def files(self) -> Iterator[str]:
        """Yield the wrappers and launchers of the generation's runtimes."""
        yield from self.links.values()
        yield from self._wrappers

    @property
    def has_wrappers(self) -> bool:
        """Whether a resolution names a wrapper."""
        return any(self._wrappers)

    @property
    def _wrappers(self) -> Iterator[str]:
        directory = f"{self.host.data_root}/{WRAPPERS}/"
        return (target.removeprefix(directory) for target in self.targets.values() if target.startswith(directory))

    @property
    def identities(self) -> Mapping[str, Identity]:
        """The identities of the runtimes, by name."""
        return {name: (answer["digest"], self.engines.get(name, "")) for name, answer in self.answers.items()}


def render_manifest(
    generation: Generation,
    carried: Mapping[str, str],
    created_s: float,
    trigger: shapes.Trigger | None = None,
    changes: shapes.Changes | None = None,
) -> bytes:
    """Return the manifest of ``generation``; ``carried`` are the links of removed runtimes (see `Manifest`)."""
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
    }
    tables: dict[str, Mapping[str, str]] = {
        "links": {link: json.dumps(file) for link, file in generation.links.items()},
        "carried": {link: json.dumps(file) for link, file in carried.items()},
        "targets": {link: json.dumps(runtime.target) for link, runtime in generation.launchers.items()},
        "names": {link: json.dumps(runtime.name) for link, runtime in generation.launchers.items()},
        "origins": {name: json.dumps([o.file, o.line, o.fields]) for name, o in config.origins.items()},
        "answers": {name: r.answer.at(generation.number).decode() for name, r in generation.runtimes.items()},
        "engines": {name: json.dumps(text) for name, text in generation.engines.items()},
        "checksums": {path: json.dumps(text) for path, text in config.sources.items()},
    }
    # Entry by entry, because one json.dumps() of a large table would block the event loop.
    parts = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for key, table in tables.items():
        entries = ",\n".join(f"{json.dumps(name)}: {text}" for name, text in table.items())
        parts.append(f"{json.dumps(key)}: {{\n{entries}\n}}")
    return seal(("{\n" + ",\n".join(parts)).encode())


def read_manifest(data: bytes, number: int) -> Manifest:
    """Return the manifest in ``data``, the file in the directory of generation ``number``.

    Raises:
        DamagedManifest: the file is damaged, or belongs to another generation or layout.
    """
    if not is_sealed(data):
        raise DamagedManifest(number, "its checksum does not match its content")
    try:
        return _manifest(_load(unseal(data)), number)
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
        table = manifest[json.loads(line[:-3])] = {}
        entries = itertools.takewhile(lambda entry: entry not in (b"}", b"},"), lines)
        while step := list(itertools.islice(entries, _STEP)):
            table |= json.loads(b"{%b}" % b"".join(step).rstrip(b","))
    return manifest


def _manifest(found: Any, number: int) -> Manifest:
    if found["layout"] != LAYOUT or found["generation"] != number:
        found_here = f"layout {found['layout']!r}, generation {found['generation']!r}"
        raise DamagedManifest(number, f"{found_here}; expected layout {LAYOUT}, generation {number}")
    if not all(is_script_file(file) for key in ("links", "carried") for file in found[key].values()):
        raise DamagedManifest(number, "it names a file that is not a script")
    host = Host(**{**found["host"], "facts": Facts(**found["host"]["facts"])})
    # A version without launchers made links to the wrappers.
    wrappers = {link: f"{host.data_root}/{WRAPPERS}/{file}" for link, file in found["links"].items()}
    return Manifest(
        number=number,
        digest=found["digest"],
        created_s=found["created"],
        configuration=found["configuration"],
        sources={**dict.fromkeys(found["sources"], ""), **found.get("checksums", {})},
        origins={name: Origin.at(file, line, fields) for name, (file, line, fields) in found["origins"].items()},
        default_runtime=found["default_runtime"],
        config_checksum=found["config_checksum"],
        links=found["links"],
        carried=found["carried"],
        targets=found.get("targets", wrappers),
        names=found["names"],
        answers=found["answers"],
        # A version without carried keys wrote none.
        engines=found.get("engines", {}),
        host=host,
        trigger=found.get("trigger"),
        changes=found.get("changes"),
    )


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
