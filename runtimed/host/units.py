"""Finds the names under which this node's socket units of systemd pass sockets to the daemon."""

from __future__ import annotations

import glob
import os
import re

# systemd.unit(5): the directories of system units and of user units.
_DIRECTORIES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
# systemd.socket(5): the default name is that of the unit.
_NAME = re.compile(r"^FileDescriptorName\s*=\s*(\S+)\s*$", re.MULTILINE)
_UNIT_MAX = 65536


def socket_names() -> tuple[str, ...]:
    """Return the names of all socket units that mention runtimed, sorted."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    names: set[str] = set()
    for directory in (
        *(f"{each}/{kind}" for each in _DIRECTORIES for kind in ("system", "user")),
        f"{home}/systemd/user",
    ):
        for path in glob.glob(f"{glob.escape(directory)}/*.socket"):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read(_UNIT_MAX)
            except OSError:
                continue
            if "runtimed" in text or "runtimed" in os.path.basename(path):
                names.update(_NAME.findall(text) or [os.path.basename(path)])
    return tuple(sorted(names))
