"""Finds the names under which systemd's socket units of this node hand over sockets."""

from __future__ import annotations

import glob
import os
import re

# systemd.unit(5): where units of the system and of a user are.
_DIRECTORIES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
_KINDS = ("system", "user")
# systemd.socket(5): without the setting the name is that of the unit.
_NAME = re.compile(r"^FileDescriptorName\s*=\s*(\S+)\s*$", re.MULTILINE)
_UNIT_MOST = 65536


def socket_names(directories: tuple[str, ...] = _DIRECTORIES) -> tuple[str, ...]:
    """Return the names of all socket units that mention runtimed, sorted; empty where there are none."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    names: set[str] = set()
    for directory in (*(f"{each}/{kind}" for each in directories for kind in _KINDS), f"{home}/systemd/user"):
        for path in glob.glob(f"{glob.escape(directory)}/*.socket"):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read(_UNIT_MOST)
            except OSError:
                continue
            if "runtimed" in text or "runtimed" in os.path.basename(path):
                names.update(_NAME.findall(text) or [os.path.basename(path)])
    return tuple(sorted(names))
