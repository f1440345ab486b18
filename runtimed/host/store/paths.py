"""Returns the absolute paths of the files of a data root."""

from __future__ import annotations

from runtimed.core.history.layout import (
    CONFIG,
    CURRENT,
    EVENTS,
    GENERATIONS,
    LINKS,
    LOCK,
    MANIFEST,
    PARTS,
    PROOFS,
    VERSION,
    VIEW,
    WRAPPERS,
    generation_directory,
)


class Paths:
    """The paths of the data root ``root``; :mod:`runtimed.core.history.layout` describes the files."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.version = f"{root}/{VERSION}"
        self.lock = f"{root}/{LOCK}"
        self.current = f"{root}/{CURRENT}"
        self.links = f"{root}/{LINKS}"
        self.parts = f"{root}/{PARTS}"
        self.wrappers = f"{root}/{WRAPPERS}"
        self.generations = f"{root}/{GENERATIONS}"
        self.proofs = f"{root}/{PROOFS}"

    def wrapper(self, file: str) -> str:
        """Return the path of a wrapper file."""
        return f"{self.wrappers}/{file}"

    def generation(self, number: int) -> str:
        """Return the directory of a generation."""
        return f"{self.root}/{generation_directory(number)}"

    def view(self, number: int) -> str:
        """Return the link of a generation to its link directory."""
        return f"{self.generation(number)}/{VIEW}"

    def link_directory(self, directory: str) -> str:
        """Return the path of a link directory."""
        return f"{self.links}/{directory}"

    def part(self, digest: str) -> str:
        """Return the path of a part of manifests."""
        return f"{self.parts}/{digest}"

    def config(self, number: int) -> str:
        """Return the configuration of a generation."""
        return f"{self.generation(number)}/{CONFIG}"

    def manifest(self, number: int) -> str:
        """Return the manifest of a generation."""
        return f"{self.generation(number)}/{MANIFEST}"

    def events(self, number: int) -> str:
        """Return the events of a generation."""
        return f"{self.generation(number)}/{EVENTS}"
