"""What a translation results in: a document, and a remark for everything in the original that it does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtimed.core.configuration.position import Spot
from runtimed.core.errors import ConfigurationRejected
from runtimed.core.message_text import printable


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that the translation does not say, or says otherwise; ``where`` is where it stands."""

    where: Spot
    message: str

    def __str__(self) -> str:
        """Return the remark as one printable line: ``file:line: place: message``."""
        place = ":".join(str(part) for part in (self.where.file, self.where.line) if part is not None)
        return printable(": ".join(part for part in (place, self.where.pointer, self.message) if part))

    def as_dict(self) -> dict[str, object]:
        """Return the shape that ``runtimectl --json`` prints."""
        where = self.where
        return {"file": where.file, "line": where.line, "place": where.pointer, "message": self.message}


class TranslationRejected(ConfigurationRejected):
    """A configuration cannot be translated; ``told`` are the remarks on the part that was read."""

    def __init__(self, rejection: ConfigurationRejected, remarks: tuple[Remark, ...]) -> None:
        super().__init__(rejection.problems, rejection.untold)
        self.translation_remarks = remarks


@dataclass(frozen=True, slots=True)
class Translation:
    """A configuration in the words of another engine, or a drop-in for runtimed."""

    document: Mapping[str, object]
    remarks: tuple[Remark, ...] = ()
