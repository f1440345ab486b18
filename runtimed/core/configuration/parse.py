"""Merges all documents and flags into one :class:`~runtimed.core.config.Config`, or reports all their problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from runtimed.core.config import Config, Documents, Flags, Settings, Source
from runtimed.core.configuration.document import parse_document
from runtimed.core.configuration.layer import Layer, document_layer, flags_layer
from runtimed.core.configuration.problems import Findings, Problems
from runtimed.core.configuration.settings import Attributes, with_value
from runtimed.core.containerd.names import STOCK_NAMES, is_permissible_shim_name
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called, nearest, shown

# Values in all files together. Each takes up to a kilobyte until it is checked.
MAX_VALUES = 250_000
_DEFAULT: Attributes = ("default_runtime",)


def parse_configuration(
    documents: Documents,
    flags: Flags,
    defaults: Settings,
    *,
    main_required: str | None = None,
    most: int | None = MAX_VALUES,
) -> Config:
    """Return the configuration of the main file, the drop-ins and the flags; later ones win.

    ``main_required`` is the reason why a missing main file is an error and the remedy, None if it is no error. ``most``
    is the largest number of values, None for text that runtimed has written.

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
    # A file that cannot be read may define the default runtime.
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
    paths = tuple(source.path for source in sources)
    return _merged(layers, Config(documents.main_path, defaults, {}, sources=paths, remarks=remarks))


def _document_layers(sources: Iterable[Source], flags: Layer, found: Findings, most: int | None) -> list[Layer]:
    """Return a layer for each source that is JSON, and add the findings in all of them to ``found``."""
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
    """Return the problem of the default runtime that wins, if its name means nothing."""
    given = [layer for layer in layers if _DEFAULT in layer.values]
    if not given:
        return []
    name = str(given[-1].values[_DEFAULT])
    known = {*STOCK_NAMES}.union(*(layer.names for layer in layers))
    if name in known or is_permissible_shim_name(name):
        return []
    near = nearest(name, known)
    hint = f"; did you mean {shown(near)}?" if near else ""
    message = f"specified default runtime '{called(name)}' does not exist{hint}"
    expected = "a configured runtime, a stock one, or a shim's name"
    return [given[-1].default_spot.problem(message, shown(name), expected)]


def _merged(layers: Sequence[Layer], config: Config) -> Config:
    """Return ``config`` with all ``layers`` laid over it."""
    values: Mapping[Attributes, object] = _union(layer.values for layer in layers)
    for attributes, value in values.items():
        config = with_value(config, attributes, value)
    return replace(
        config,
        runtimes=MappingProxyType(_union(layer.definitions for layer in layers)),
        origins=MappingProxyType(_union(layer.origins for layer in layers)),
        ignored=tuple(dict.fromkeys(key for layer in layers for key in layer.ignored)),
        overridden=tuple(sorted(frozenset[str]().union(*(layer.overridden for layer in layers)))),
    )


K = TypeVar("K")
V = TypeVar("V")


def _union(parts: Iterable[Mapping[K, V]]) -> dict[K, V]:
    """Return all of ``parts`` in one; later ones win."""
    return {key: value for part in parts for key, value in part.items()}


def _in_order(problems: Iterable[Problem], documents: Documents) -> tuple[Problem, ...]:
    """Return ``problems`` in the order of the documents and of their lines; those of flags come last."""
    paths = (documents.main_path, *(source.path for source in documents.dropins))
    ranks: dict[str | None, int] = {path: rank for rank, path in reversed(tuple(enumerate(paths)))}
    ranks[None] = len(paths) + 1
    # A drop-in that could not be read has no rank: it comes after those that were.
    unread = len(paths)
    return tuple(sorted(problems, key=lambda p: (ranks.get(p.file, unread), p.file or "", p.line or 0, p.column or 0)))
