"""Defines the result of a translation: a document, and remarks on everything that it leaves out or changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtimed.core.configuration.position import Spot
from runtimed.core.errors import ConfigurationRejected, Problem


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that the translation leaves out or changes; ``where`` is its place in the original."""

    where: Spot
    message: str

    def __str__(self) -> str:
        """Return the remark as one printable line: ``file:line: place: message``."""
        return str(Problem(self.message, self.where.file, self.where.line, pointer=self.where.pointer))

    def as_dict(self) -> dict[str, object]:
        """Return the JSON object that ``runtimectl --json`` prints."""
        where = self.where
        return {"file": where.file, "line": where.line, "place": where.pointer, "message": self.message}


class TranslationRejected(ConfigurationRejected):
    """A configuration cannot be translated; ``translation_remarks`` are those on the part that was read."""

    def __init__(self, rejection: ConfigurationRejected, remarks: tuple[Remark, ...]) -> None:
        super().__init__(rejection.problems, rejection.untold)
        self.translation_remarks = remarks


@dataclass(frozen=True, slots=True)
class Translation:
    """A configuration for another engine, or a drop-in for runtimed."""

    document: Mapping[str, object]
    remarks: tuple[Remark, ...] = ()
