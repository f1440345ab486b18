"""Looks up files with a function, without threads and without a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from runtimed.core.errors import BinaryUnavailable


class Lookup:
    """A lookup that calls ``look_up`` for each of ``files`` in every `wait`."""

    def __init__(self, files: tuple[str, ...], look_up: Callable[[str], str]) -> None:
        self.files = files
        self.look_up = look_up
        self.usable_s = self.renew_s = float("-inf") if files else float("inf")

    def renew(self) -> None:
        raise AssertionError("nothing is cached")

    def error(self, now_s: float) -> BinaryUnavailable | None:
        return None

    async def wait(self) -> BinaryUnavailable | None:
        found = look_up_each(self.look_up, self.files)
        return next((each for each in found.values() if isinstance(each, BinaryUnavailable)), None)


def look_up_each(look_up: Callable[[str], str], files: Iterable[str]) -> Mapping[str, str | BinaryUnavailable]:
    """Return the result or error of ``look_up`` for each of ``files``."""
    found: dict[str, str | BinaryUnavailable] = {}
    for file in files:
        try:
            found[file] = look_up(file)
        except BinaryUnavailable as error:
            found[file] = error
    return found
