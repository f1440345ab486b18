"""Reads and renders pins, in which launchers record the runtime that a container was created with.

A pin is one line in a file of the directory of pins. A launcher (``core.table.launcher``) appends it with one write and
leads it by a line feed, so that an earlier line that was cut off cannot spoil it. Fields are separated by tabs and led
by ``=``, because a shell skips empty fields. The last complete line for a root and an id counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A container id that is its own file's name. All others share one file. As in the text of a launcher.
_SAFE_ID = re.compile(r"[0-9a-zA-Z_+-][0-9a-zA-Z_.+-]{0,199}")
OTHER_FILE = ".other"
_VERSION = "1"
_END = "."
_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Pin:
    """A record of the runtime that a container was created with.

    ``link`` is the file name of the stable path, ``root`` the ``--root`` that the engine gave, ``state`` the directory
    of the runtime's state, ``bundle`` the container's bundle, ``target`` the wrapper or binary. An engine need not give
    a root or a bundle, and the state may not be known: such a field is "".
    """

    link: str
    root: str
    id: str
    state: str
    bundle: str
    target: str


def pin_file(container: str) -> str:
    """Return the name of the file that holds the pins of the container id ``container``."""
    return container if _SAFE_ID.fullmatch(container) else OTHER_FILE


def render_pin(pin: Pin) -> bytes:
    """Return the bytes that record ``pin``, to be appended by one write.

    Raises:
        ValueError: a field holds a tab or a line feed, or the target is no absolute path.
    """
    fields = (pin.link, pin.root, pin.id, pin.state, pin.bundle)
    if any(set(field) & set("\t\n") for field in (*fields, pin.target)) or not pin.target.startswith("/"):
        raise ValueError(f"not recordable: {pin}")
    line = "\t".join((_VERSION, *(f"={field}" for field in fields), pin.target, _END))
    return f"\n{line}\n".encode(errors="surrogateescape")


def read_pins(data: bytes) -> tuple[Pin, ...]:
    """Return the pins in a file's content ``data``: the last one of each root and id, in the order of their lines.

    Lines that are incomplete or of another version are ignored.
    """
    pins: dict[tuple[str, str], Pin] = {}
    for pin in _complete(data):
        pins.pop((pin.root, pin.id), None)
        pins[pin.root, pin.id] = pin
    return tuple(pins.values())


def _complete(data: bytes) -> Iterator[Pin]:
    # After the last line feed there is nothing, or a line that was cut off.
    for line in data.split(b"\n")[:-1]:
        fields = line.decode(errors="surrogateescape").split("\t")
        if len(fields) != _FIELDS or (fields[0], fields[-1]) != (_VERSION, _END) or not fields[-2].startswith("/"):
            continue
        marked = fields[1:-2]
        if all(field.startswith("=") for field in marked):
            link, root, container, state, bundle = (field[1:] for field in marked)
            yield Pin(link, root, container, state, bundle, fields[-2])
