"""Reads a text as the main file, without flags."""

from __future__ import annotations

from runtimed.core.configuration.document import Document, parse_document
from runtimed.core.configuration.draft import Draft
from runtimed.core.configuration.entries import read_entries
from runtimed.core.configuration.inputs import Flags, Source
from runtimed.core.configuration.schema import read_settings
from runtimed.core.errors import Problem


def document(text: str) -> Document:
    return parse_document(Source("daemon.json", text.encode()))


def draft_of(text: str) -> Draft:
    draft = Draft()
    read_settings(document(text), Flags(), draft)
    read_entries(document(text), Flags(), draft)
    return draft


def problems_of(text: str) -> list[Problem]:
    return draft_of(text).problems
