"""Merges all documents and flags into one :class:`~runtimed.core.config.Config`, or reports all their problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from runtimed.core.config import Config, Settings
from runtimed.core.configuration.document import parse_document
from runtimed.core.configuration.draft import Draft
from runtimed.core.configuration.entries import read_added_runtimes, read_entries
from runtimed.core.configuration.inputs import Documents, Flags
from runtimed.core.configuration.position import advice
from runtimed.core.configuration.problems import Problems
from runtimed.core.configuration.schema import read_flags, read_settings
from runtimed.core.configuration.settings import Attributes, with_value
from runtimed.core.configuration.unchanged import ParsedEntries, WholeTextNeeded
from runtimed.core.containerd.names import STOCK_NAMES, is_permissible_shim_name
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called, shown

# Values in all files together. Each takes up to a kilobyte until it is checked.
MAX_VALUES = 250_000
_DEFAULT: Attributes = ("default_runtime",)
_REQUIRE_PROOF: Attributes = ("runtimed", "require_proof")


def parse_configuration(
    documents: Documents,
    flags: Flags,
    defaults: Settings,
    *,
    main_required: str | None = None,
    most: int | None = MAX_VALUES,
    previous: Config | None = None,
) -> Config:
    """Return the configuration of the main file, the drop-ins and the flags; later ones win.

    ``main_required`` is the reason why a missing main file is an error and the remedy, None if it is no error. ``most``
    is the largest number of values, None for text that runtimed has written. The configuration ``previous`` saves work:
    entries whose text did not change have the same definition, and are not parsed again.

    Raises:
        ConfigurationRejected: with every problem of every document and flag, in the order of the files.
    """
    if previous is not None and previous.parsed:
        try:
            return _parse(documents, flags, defaults, main_required, most, previous.parsed)
        except (ConfigurationRejected, WholeTextNeeded):
            previous = None  # a report needs all places in the text
    return _parse(documents, flags, defaults, main_required, most, {})


def _parse(
    documents: Documents,
    flags: Flags,
    defaults: Settings,
    main_required: str | None,
    most: int | None,
    parsed: Mapping[str, ParsedEntries],
) -> Config:
    sources = documents.sources
    draft = Draft(problems=Problems(documents.problems), remarks=Problems(documents.remarks))
    if documents.main is None and main_required and all(p.file != documents.main_path for p in documents.problems):
        draft.problems.append(
            Problem(main_required, documents.main_path, found="no file", expected="a configuration file")
        )
    complete = not draft.problems
    for source in sources:
        try:
            document = parse_document(source, most, parsed.get(source.path))
        except ConfigurationRejected as exc:
            complete = False
            draft.problems += exc.problems
            draft.problems.omitted += exc.omitted
            continue
        most = None if most is None else most - document.size
        read_settings(document, flags, draft)
        read_entries(document, flags, draft)
    read_flags(flags, draft)
    read_added_runtimes(flags, draft)
    # A file that cannot be read or parsed may define the default runtime.
    if complete:
        _check_default(draft)
    remarks = _in_order(draft.remarks, documents)
    if draft.problems:
        problems = _in_order(draft.problems, documents)
        raise ConfigurationRejected(problems, draft.problems.omitted, remarks=remarks)
    checksums = {source.path: source.checksum for source in sources}
    return _with_draft(Config(documents.main_path, defaults, {}, sources=checksums, remarks=remarks), draft)


def _with_draft(config: Config, draft: Draft) -> Config:
    for attributes, value in draft.values.items():
        config = with_value(config, attributes, value)
    return replace(
        config,
        runtimes=MappingProxyType(draft.definitions),
        origins=MappingProxyType(draft.origins),
        parsed=MappingProxyType(draft.parsed),
        default_at=draft.locations.get(_DEFAULT) or draft.locations.get(_REQUIRE_PROOF) or config.default_at,
        ignored=tuple(draft.ignored),
        overridden=tuple(sorted(draft.overridden)),
    )


def _check_default(draft: Draft) -> None:
    """Add a problem to ``draft`` if its default runtime does not exist."""
    if _DEFAULT not in draft.values:
        return
    name = str(draft.values[_DEFAULT])
    known = {*STOCK_NAMES, *draft.names}
    if name not in known and not is_permissible_shim_name(name):
        message = f"specified default runtime '{called(name)}' does not exist{advice(name, known)}"
        expected = "a configured runtime, a stock one, or a shim's name"
        draft.problems.append(draft.locations[_DEFAULT].problem(message, shown(name), expected))


def _in_order(problems: Iterable[Problem], documents: Documents) -> tuple[Problem, ...]:
    """Return ``problems`` in the order of the documents and of their lines; those of flags come last."""
    paths = (documents.main_path, *(source.path for source in documents.dropins))
    ranks: dict[str | None, int] = {path: rank for rank, path in reversed(tuple(enumerate(paths)))}
    ranks[None] = len(paths) + 1
    # A drop-in that could not be read has no rank: it comes after those that were.
    unread = len(paths)
    return tuple(sorted(problems, key=lambda p: (ranks.get(p.file, unread), p.file or "", p.line or 0, p.column or 0)))
