"""Remembers the newest published number where a rollback of the data root does not reach."""

from __future__ import annotations

import os

from runtimed.host.store.disk import FILE_MODE, read_file, replace_file

_DIGITS_MOST = 18


class NumberMemory:
    """The file ``<directory>/generation-<identity>``, of one data root, which holds its newest number."""

    def __init__(self, directory: str, identity: str) -> None:
        self._directory = directory
        self._name = f"generation-{identity if identity.isalnum() else 'unknown'}"

    def read(self) -> int:
        """Return the number; 0 where none is remembered, as after a boot."""
        try:
            digits = read_file(f"{self._directory}/{self._name}", _DIGITS_MOST + 1).strip()
        except OSError:
            return 0
        return int(digits) if digits.isdigit() and len(digits) <= _DIGITS_MOST else 0

    def write(self, number: int) -> str | None:
        """Remember ``number``; return in words why that failed, None if it did not."""
        try:
            try:
                self._replace(number)
            except FileNotFoundError:  # the directory was removed under the running daemon
                os.mkdir(self._directory, 0o755 if os.geteuid() == 0 else 0o700)
                self._replace(number)
        except OSError as error:
            path = os.path.join(self._directory, self._name)
            return f"number {number} cannot be remembered in {path}: {error.strerror or error}"
        return None

    def _replace(self, number: int) -> None:
        replace_file(self._directory, self._name, b"%d\n" % number, FILE_MODE)
