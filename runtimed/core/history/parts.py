"""Writes and reads parts, which hold the resolutions of generations on disk.

A hash of its name assigns each runtime to a part, so that a publish writes only the parts of runtimes that changed. A
part is named by its content, never changes, and is shared by generations.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from runtimed.core.history.layout import WRAPPERS
from runtimed.core.table.generation import Runtime
from runtimed.core.table.script import is_script_file

if TYPE_CHECKING:
    from runtimed.core import shapes

# The runtimes of a part, on average: at most this many, and half as many in a large table.
_RUNTIMES_MOST = 128
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Part:
    """Some runtimes of a generation, by name; `answers` are their resolutions with any number as the generation's."""

    answers: Mapping[str, shapes.Resolution]
    # Stable path -> the file that it leads to: a launcher, or a wrapper where a version without launchers published it.
    links: Mapping[str, str]
    # Stable path -> the target of its pins, and -> the name of the runtime.
    targets: Mapping[str, str]
    names: Mapping[str, str]
    # The carried keys of the runtimes that have some (see `Definition.engines`).
    engines: Mapping[str, str]

    def wrappers(self, data_root: str) -> Iterator[str]:
        """Yield the wrappers below ``data_root`` that the resolutions name."""
        directory = f"{data_root}/{WRAPPERS}/"
        return (target.removeprefix(directory) for target in self.targets.values() if target.startswith(directory))

    def files(self, data_root: str) -> Iterator[str]:
        """Yield the launchers and wrappers of the runtimes."""
        yield from self.links.values()
        yield from self.wrappers(data_root)


@dataclass(frozen=True, slots=True)
class Partition:
    """The parts of a generation: the sorted names of the runtimes in each, and its digest."""

    names: tuple[tuple[str, ...], ...]
    digests: tuple[str, ...]


def make_partition(
    runtimes: Mapping[str, Runtime], changed: Iterable[str] = (), previous: Partition | None = None
) -> tuple[Partition, dict[str, bytes]]:
    """Return the parts of ``runtimes``, and the texts of the rendered ones by digest: all without ``previous``.

    ``previous`` only saves work; ``changed`` are the names that were added, changed or removed since.
    """
    count = 1 << ((len(runtimes) - 1) // _RUNTIMES_MOST).bit_length() if runtimes else 1
    groups: dict[int, list[str]]
    if previous is None or len(previous.names) != count:
        previous = Partition(((),) * count, ("",) * count)
        groups = {index: [] for index in range(count)} | _group(runtimes, count)
    else:
        groups = _group(changed, count)
    names, digests = list(previous.names), list(previous.digests)
    texts = {}
    for index, group in groups.items():
        names[index] = tuple(sorted(name for name in {*names[index], *group} if name in runtimes))
        text = _render(runtimes[name] for name in names[index])
        digests[index] = hashlib.sha256(text).hexdigest()
        texts[digests[index]] = text
    return Partition(tuple(names), tuple(digests)), texts


def read_part(data: bytes, digest: str) -> Part:
    """Return the part ``digest`` in ``data``.

    Raises: ValueError, KeyError, TypeError, AttributeError, RecursionError: ``data`` is another or no part.
    """
    if not is_part(data, digest):
        raise ValueError(f"part {digest} does not have the content that its name requires")
    entries = json.loads(data)
    files = {name: entry["launcher"] for name, entry in entries.items() if "launcher" in entry}
    require_scripts(files.values())
    links = {name: file.rpartition("-")[0] for name, file in files.items()}
    return Part(
        answers={name: entry["answer"] for name, entry in entries.items()},
        links={links[name]: file for name, file in files.items()},
        targets={link: entries[name]["answer"]["options"]["fields"]["binary_name"] for name, link in links.items()},
        names={link: name for name, link in links.items()},
        engines={name: entry["engines"] for name, entry in entries.items() if "engines" in entry},
    )


def require_scripts(files: Collection[str]) -> None:
    """Raise ValueError if one of ``files`` does not have the form of a script's file name."""
    if not all(map(is_script_file, files)):
        raise ValueError("it names a file that is not a script")


def is_part(data: bytes, digest: str) -> bool:
    """Return whether ``data`` has the content that the name ``digest`` requires."""
    return hashlib.sha256(data).hexdigest() == digest


def is_part_file(file: str) -> bool:
    """Return whether ``file`` has the form of the file name of a part, which is its digest."""
    return _DIGEST.fullmatch(file) is not None


def _group(names: Iterable[str], count: int) -> dict[int, list[str]]:
    """Return the numbers of the parts, out of ``count``, with those of ``names`` that belong to each."""
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(zlib.crc32(name.encode()) & (count - 1), []).append(name)
    return groups


def _render(runtimes: Iterable[Runtime]) -> bytes:
    return b"{\n" + b",\n".join(map(_entry, runtimes)) + b"\n}\n"


def _entry(runtime: Runtime) -> bytes:
    definition, launcher = runtime.definition, runtime.launcher
    more = "" if launcher is None else f', "launcher": "{launcher.file}"'
    if definition is not None and definition.engines:
        more += f', "engines": {encode_basestring_ascii(definition.engines)}'
    # Generations share the part, so the answer has no generation's number.
    name = encode_basestring_ascii(runtime.name).encode()
    return b'%b: {"answer": %b%b}' % (name, runtime.answer.at(0), more.encode())
