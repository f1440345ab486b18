"""All documents and flags -> one :class:`~runtimed.core.config.Config`, or every problem there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from runtimed.core.config import Config, Documents, Flags, Limits, Own, Probe, Settings, Source
from runtimed.core.configuration.document import parse_document
from runtimed.core.configuration.layer import Layer, document_layer, flags_layer
from runtimed.core.configuration.problems import Findings, Problems
from runtimed.core.containerd.names import RUNC_NAME, STOCK_NAMES, is_permissible_shim_name
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called, nearest, shown

# Values in all files together. Each takes up to a kilobyte until it is checked.
MAX_VALUES = 250_000


def parse_configuration(
    documents: Documents,
    flags: Flags,
    defaults: Settings,
    *,
    main_required: str | None = None,
    most: int | None = MAX_VALUES,
) -> Config:
    """Return the configuration that ``documents`` and ``flags`` make: the main file, drop-ins, flags; later ones win.

    ``main_required`` says why a missing main file is not acceptable and what to do; None where it is. ``most`` bounds
    the number of values; None for text that this program wrote itself.

    Raises:
        ConfigurationRejected: with every problem of every document and flag, in the order of the files.
    """
    sources = tuple(source for source in (documents.main, *documents.dropins) if source is not None)
    unreadable = Problems(documents.problems)
    if documents.main is None and main_required is not None and all(p.file != documents.main_path for p in unreadable):
        message = f"the file is not there: {main_required}"
        unreadable.append(Problem(message, documents.main_path, found="no file", expected="a configuration file"))
    found = Findings(Problems(unreadable))
    flagged_problems = Problems()
    flagged = flags_layer(flags, flagged_problems)
    layers = _document_layers(sources, flagged, found, most)
    # Where a file could not be read, the runtime that the default names may stand in it.
    complete = not unreadable and len(layers) == len(sources)
    found.problems += flagged_problems
    layers.append(flagged)
    if complete:
        found.problems += _default_problems(layers)
    found.remarks += documents.remarks
    remarks = _in_order(found.remarks, documents)
    if found.problems:
        problems = _in_order(found.problems, documents)
        raise ConfigurationRejected(problems, found.problems.untold, remarks=remarks)
    config = _merged(layers, defaults, documents.main_path, tuple(source.path for source in sources))
    return replace(config, remarks=remarks)


def _document_layers(sources: Iterable[Source], flags: Layer, found: Findings, most: int | None) -> list[Layer]:
    """Return a layer for each source that is JSON, and add to ``found`` what there is to say about all of them."""
    layers = []
    for source in sources:
        try:
            document = parse_document(source, most)
        except ConfigurationRejected as exc:
            found.problems += exc.problems
            found.problems.untold += exc.untold
            continue
        if most is not None:
            most -= document.size
        layers.append(document_layer(document, found, flags))
    return layers


def _default_problems(layers: Sequence[Layer]) -> Iterable[Problem]:
    """Return what is wrong with the default runtime that wins."""
    given = [layer.default_runtime for layer in layers if layer.default_runtime is not None]
    if not given:
        return []
    name, spot = given[-1]
    known = {*STOCK_NAMES}.union(*(layer.names for layer in layers))
    if name in known or is_permissible_shim_name(name):
        return []
    near = nearest(name, known)
    hint = f"; did you mean {shown(near)}?" if near else ""
    message = f"specified default runtime '{called(name)}' does not exist{hint}"
    return [spot.problem(message, shown(name), "a configured runtime, a stock one, or a shim's name")]


def _merged(layers: Sequence[Layer], defaults: Settings, path: str, sources: tuple[str, ...]) -> Config:
    """Return the layers laid over each other; the last one is the command line's."""
    *documents, flags = layers
    settings: Any = _union(layer.settings for layer in layers)
    own: Any = _union(layer.own for layer in layers)
    limits: Any = _union(layer.limits for layer in layers)
    probe: Any = _union(layer.probe for layer in layers)
    defaults_given = [layer.default_runtime[0] for layer in layers if layer.default_runtime is not None]
    drivers = [driver for layer in layers for driver in layer.cgroup_driver]
    return Config(
        path=path,
        settings=replace(defaults, **settings),
        runtimes=MappingProxyType(_union(layer.definitions for layer in layers)),
        default_runtime=defaults_given[-1] if defaults_given else RUNC_NAME,
        cgroup_driver=drivers[-1] if drivers else None,
        own=Own(**own, limits=Limits(**limits), probe=Probe(**probe)),
        origins=MappingProxyType(_union(layer.origins for layer in layers)),
        sources=sources,
        ignored=tuple(dict.fromkeys(key for layer in layers for key in layer.ignored)),
        overridden=_overridden(documents, flags),
    )


def _overridden(documents: Iterable[Layer], flags: Layer) -> tuple[str, ...]:
    """Return the keys, and ``runtimes/NAME`` for each runtime, that a document sets and a flag wins."""
    set_keys = frozenset().union(*(layer.keys for layer in documents)) & flags.keys
    names = frozenset().union(*(layer.names for layer in documents)) & flags.names
    return (*sorted(set_keys), *(f"runtimes/{name}" for name in sorted(names)))


V = TypeVar("V")


def _union(parts: Iterable[Mapping[str, V]]) -> dict[str, V]:
    """Return all of ``parts`` in one; later ones win."""
    return {key: value for part in parts for key, value in part.items()}


def _in_order(problems: Iterable[Problem], documents: Documents) -> tuple[Problem, ...]:
    """Return ``problems`` in the order of the documents and of the lines in each; those of flags come last."""
    paths = (documents.main_path, *(source.path for source in documents.dropins))
    ranks: dict[str | None, int] = {path: rank for rank, path in reversed(tuple(enumerate(paths)))}
    ranks[None] = len(paths) + 1
    # A drop-in that could not be read has no rank: it comes after those that were.
    unread = len(paths)
    return tuple(sorted(problems, key=lambda p: (ranks.get(p.file, unread), p.file or "", p.line or 0, p.column or 0)))
