"""Translates the runtimes of podman's containers.conf into a drop-in that has the same effect.

Of the paths of a runtime podman executes the first one that is a regular file, otherwise the name of the runtime on
PATH (``newConmonOCIRuntime`` in libpod's ``oci_conmon_common.go``). It finds flags by the base name of the runtime's
name, and puts ``--`` before each.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from types import MappingProxyType

from runtimed.core.configuration.position import Location, Pointer
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.engines.engine import Original
from runtimed.core.engines.podman.runtimes import BUILT_IN, SUPPORTS
from runtimed.core.engines.syntax import shown_toml
from runtimed.core.engines.toml_reader import TomlReader
from runtimed.core.engines.translation import RUNC_IS_RESERVED, Translation, is_runc_of_node
from runtimed.core.message_text import called

# Keys of [engine] about runtimes that have no equivalent, with the reason.
_LOST: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys((*SUPPORTS, "runtime_supports_nocgroups"), "is podman's own knowledge of runtimes"),
        "platform_to_oci_runtime": "chooses a runtime by the platform of an image, which runtimed does not know",
        "runtime_path": "is an old way to write the paths of the default runtime; put them below runtimes",
    }
)


def read_podman(original: Original) -> Translation:
    """Return the drop-in for the runtimes of ``original``, a containers.conf.

    Raises:
        ConfigurationRejected: the file is not a containers.conf, or runtimed would not accept the translation.
    """
    return _PodmanReader(original).read()


class _PodmanReader(TomlReader):
    def __init__(self, original: Original) -> None:
        super().__init__(original)
        self._engine = self.table(self.document.get("engine"), "engine")
        self._flags = self.table(self._engine.get("runtimes_flags"), "engine", "runtimes_flags")

    def read(self) -> Translation:
        for key, why in _LOST.items():
            if value := self._engine.get(key):
                self.remark_at(f"{shown_toml(value)} {why}", "engine", key)
        given = dict(self.table(self._engine.get("runtimes"), "engine", "runtimes"))
        default = self._add_default(given)
        self._add_flagged(given)
        runtimes: dict[str, object] = {}
        for name, value in given.items():
            entry = self._entry(name, self.texts(value, "engine", "runtimes", name))
            if entry is not None:
                runtimes[name] = entry
        if not given and not default:
            self.remark_at("there are no runtimes here; podman then has those that it knows", "engine", "runtimes")
        dropin: dict[str, object] = {"runtimes": runtimes} if runtimes else {}
        if default:
            dropin["default-runtime"] = default
        return self.finish(dropin, self._locate)

    def _add_default(self, given: dict[str, object]) -> str:
        """Return the name of the default runtime, and add it to ``given`` if podman needs no entry for it."""
        default = self.text(self._engine.get("runtime"), "engine", "runtime")
        if not default.startswith("/"):
            if default in BUILT_IN:
                given.setdefault(default, [])
            return default
        name = posixpath.basename(default)
        if given.setdefault(name, [default]) != [default]:
            text = f"is a path, and the runtime {called(name)} has another one; write the name of a runtime"
            self.problem_at(text, default, "a name", "engine", "runtime")
        return name

    def _add_flagged(self, given: dict[str, object]) -> None:
        """Add the runtimes to ``given`` of which the file only has flags."""
        for name in self._flags:
            if name in BUILT_IN:
                given.setdefault(name, [])
            elif all(posixpath.basename(each) != name for each in given):
                text = "left out: podman accepts flags only for runtimes that it knows"
                self.remark_at(text, "engine", "runtimes_flags", name)

    def _entry(self, name: str, paths: list[str]) -> dict[str, object] | None:
        flags = posixpath.basename(name)
        given = self.texts(self._flags.get(flags), "engine", "runtimes_flags", flags)
        path = self._path(name, paths)
        if name == RUNC_NAME and name not in self.renames:
            self._check_stock(path, given)
            return None
        if path is None:
            return None
        return {"path": path, **({"runtimeArgs": [f"--{flag}" for flag in given]} if given else {})}

    def _path(self, name: str, paths: list[str]) -> str | None:
        """Return the binary that podman would execute; None, with a remark, if it would find none."""
        found = next((path for path in paths if path.startswith("/") and self.original.is_file(path)), None)
        if found is not None:
            return found
        where = ("engine", "runtimes", name)
        if "/" in name:
            self.remark_at("left out: none of its paths is a file, so podman does not have it", *where)
            return None
        if paths:
            self.remark_at("none of its paths is a file here; podman then looks for its name on PATH", *where)
        return BUILT_IN.get(name, name) if not paths else name

    def _check_stock(self, path: str | None, flags: list[str]) -> None:
        """Add a problem if runc is not the stock runtime."""
        if not is_runc_of_node(path or "") or flags:
            where = ("engine", "runtimes", RUNC_NAME)
            self.problem_at(RUNC_IS_RESERVED, path or "", "runc without flags", *where)

    def _locate(self, pointer: Pointer) -> Location:
        match pointer:
            case ("default-runtime", *_):
                return self.location("engine", "runtime")
            case ("runtimes", name, "runtimeArgs", *_):
                return self.location("engine", "runtimes_flags", posixpath.basename(str(name)))
            case ("runtimes", name, *_):
                return self.location("engine", "runtimes", str(name))
            case _:
                return self.location("engine", "runtimes")
