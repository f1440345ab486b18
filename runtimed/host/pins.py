"""Reads, appends and removes pins: the files in which launchers record the target of each container.

Launchers append to these files at any time, without a lock, and read them again afterwards. So a file is never
rewritten. Its removal is a rename, a comparison, and a link back where a launcher has written meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from runtimed.core.message_text import printable
from runtimed.core.pins import Pin, pin_file, read_pins, render_pin

# The prefix of a file that is being removed. Names of files of pins have no leading dot, except that of the shared one.
_ASIDE = ".aside."
# Far more than a file has: a line has some hundred bytes, and a launcher appends one when the definition has changed.
_FILE_MAX = 16 << 20
_MODE = 0o700
# A launcher writes to a file directly after it has made it, if no full disk or signal prevents that.
_WRITE_S = 1.0
_PAUSE_S = 0.001
_CHUNK = 1 << 16
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# Device, inode, size, time of the last change in ns. A file only grows, so an equal mark means equal content.
Mark = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class PinFile:
    """The last pin of each (root, id) in a file, and the mark of the file before it was read."""

    pins: tuple[Pin, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class PinFiles:
    """The files of pins by name, and the reasons why some could not be read."""

    files: Mapping[str, PinFile]
    faults: tuple[str, ...]

    @property
    def pins(self) -> Iterator[Pin]:
        """All pins."""
        return (pin for file in self.files.values() for pin in file.pins)


class PinDirectory:
    """The directory of pins, which only the daemon's user may change. Its methods block and do not raise OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        # A file that is being removed has another name meanwhile, which a reader in another thread would miss.
        self._lock = threading.Lock()
        self._read: dict[str, PinFile] = {}

    def make(self) -> str | None:
        """Make the directory with mode 0700 unless it exists; return why it cannot be used, None if it can.

        A file that a killed daemon left half removed gets its name back.
        """
        with self._lock:
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self.path, _MODE)
                    # Whatever the umask is.
                    os.chmod(self.path, _MODE)
                self._require_own()
                for name in os.listdir(self.path):
                    if name.startswith(_ASIDE):
                        self._put_back(name.removeprefix(_ASIDE))
            except OSError as error:
                return f"{self._shown()} cannot be used: {error.strerror}"
            return None

    def read(self) -> PinFiles:
        """Return all pins, and the faults of the directory or of files that cannot be read."""
        with self._lock:
            try:
                names = os.listdir(self.path)
            except OSError as error:
                return PinFiles({}, (f"{self._shown()}: {error.strerror}",))
            files, faults = {}, []
            for name in names:
                try:
                    files[name] = self._read_file(name, self._read.get(name))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    faults.append(f"{self._shown(name)}: {error.strerror}")
            self._read = dict(files)
            return PinFiles(files, tuple(faults))

    def add(self, pin: Pin) -> str | None:
        """Append ``pin``, as a launcher does; return why it could not be recorded, None if it was."""
        name = pin_file(pin.id)
        try:
            self._append(name, pin)
        except (OSError, ValueError) as error:
            return f"{self._shown(name)}: {error.strerror if isinstance(error, OSError) else printable(error)}"
        return None

    def remove_gone(self, name: str, judged: PinFile, is_gone: Callable[[], bool]) -> bool:
        """Remove the file ``name`` if its content is still that of ``judged``; return whether it was removed.

        ``is_gone`` is called once the file has no name any more, and returns whether the containers of ``judged`` are
        still gone: a launcher records no pin again that it has found in the file.
        """
        with self._lock:
            aside = self._path(_ASIDE + name)
            try:
                if _mark(os.lstat(self._path(name))) != judged.mark:
                    return False
                os.rename(self._path(name), aside)
                try:
                    # A launcher that has opened the file may write until it is removed, and even afterwards. It reads
                    # the file again by its name, and does not find it.
                    if is_gone() and _mark(os.lstat(aside)) == judged.mark:
                        os.unlink(aside)
                        # A new file may get the same mark, with an inode that is used again.
                        self._read.pop(name, None)
                        return True
                finally:
                    if os.path.lexists(aside):
                        self._put_back(name)
            except OSError:
                return False
            return False

    def take_over(self, other: str) -> tuple[str, ...]:
        """Append the pins of the directory ``other``, of an earlier exec root, that this one lacks; return the faults.

        The pin of the earlier exec root is the newer one where both have one.
        """
        earlier = PinDirectory(other)
        try:
            # Its parents may belong to anyone by now, and root executes what a pin names.
            earlier._require_own()
        except FileNotFoundError:
            return ()  # it was below /run, and the machine has booted since
        except OSError as error:
            return (f"{earlier._shown()} cannot be taken over: {error.strerror}",)
        found, own = earlier.read(), self.read()
        faults = [*found.faults, *own.faults]
        known = {(pin.root, pin.id): pin for pin in own.pins}
        faults += (
            fault for pin in found.pins if known.get((pin.root, pin.id)) != pin and (fault := self.add(pin)) is not None
        )
        return tuple(faults)

    def _require_own(self) -> None:
        """Raise an OSError unless the directory belongs to this user; give it its mode."""
        # Not through a link, which its owner could change later.
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(directory)
            if status.st_uid != os.geteuid():
                raise OSError(0, f"it belongs to user {status.st_uid}; remove it, and it is made anew")
            if stat.S_IMODE(status.st_mode) != _MODE:
                os.fchmod(directory, _MODE)
        finally:
            os.close(directory)

    def _put_back(self, name: str) -> None:
        """Give a file that is being removed its name back."""
        aside = self._path(_ASIDE + name)
        try:
            os.link(aside, self._path(name), follow_symlinks=False)
        except FileExistsError:
            # A launcher has made a new file. Its pins are newer, and the last line counts.
            self._wait_for_line(name)
            known = {(pin.root, pin.id) for pin in self._read_file(name).pins}
            for pin in self._read_file(_ASIDE + name).pins:
                if (pin.root, pin.id) not in known:
                    self._append(name, pin)
        except OSError:
            # A link needs an inode on tmpfs.
            os.rename(aside, self._path(name))
            return
        os.unlink(aside)

    def _wait_for_line(self, name: str) -> None:
        """Return once the launcher that has made the file has written to it; after `_WRITE_S` it has failed to."""
        until_s = time.monotonic() + _WRITE_S
        while not os.lstat(self._path(name)).st_size and time.monotonic() < until_s:
            time.sleep(_PAUSE_S)

    def _append(self, name: str, pin: Pin) -> None:
        line = render_pin(pin)
        fd = os.open(self._path(name), os.O_WRONLY | os.O_APPEND | os.O_CREAT | _OPEN, 0o600)
        try:
            _require_regular(fd)
            if os.write(fd, line) != len(line):
                # Readers skip the incomplete line.
                raise OSError(0, "the file system is full")
        finally:
            os.close(fd)

    def _read_file(self, name: str, last: PinFile | None = None) -> PinFile:
        """Return the content of a file, which is ``last`` if its mark is the same."""
        if last is not None and _mark(os.lstat(self._path(name))) == last.mark:
            return last
        fd = os.open(self._path(name), os.O_RDONLY | _OPEN)
        try:
            mark = _require_regular(fd)
            data = bytearray()
            while chunk := os.read(fd, _CHUNK):
                data += chunk
                if len(data) > _FILE_MAX:
                    raise OSError(0, f"has more than {_FILE_MAX} bytes")
        finally:
            os.close(fd)
        return PinFile(read_pins(bytes(data)), mark)

    def _path(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _shown(self, name: str | None = None) -> str:
        return printable(self.path if name is None else self._path(name))


def _mark(status: os.stat_result) -> Mark:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _require_regular(fd: int) -> Mark:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "is not a regular file")
    return _mark(status)
