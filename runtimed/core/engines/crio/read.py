"""Translates the runtimes of CRI-O's crio.conf into a drop-in that has the same effect.

Each key of a runtime that only CRI-O knows is carried in the drop-in. Empty values are left out, because CRI-O prints
every key.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from runtimed.core.configuration.position import Location, Pointer
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.engines.crio.handlers import (
    BUILT_IN,
    CONFIG_PATH,
    DEFAULT,
    INHERIT,
    OCI,
    PATH,
    POD,
    ROOT,
    SECTION,
    SHIM_FILE,
    TYPE,
    VM,
    VM_ROOT,
)
from runtimed.core.engines.engine import Original
from runtimed.core.engines.syntax import unknown_to_json
from runtimed.core.engines.toml_reader import TomlReader
from runtimed.core.engines.translation import RUNC_IS_RESERVED, Translation, is_runc_of_node
from runtimed.core.message_text import called


def read_crio(original: Original) -> Translation:
    """Return the drop-in for the runtimes of ``original``, a crio.conf.

    Raises:
        ConfigurationRejected: the file is not a crio.conf, or runtimed would not accept the translation.
    """
    return _CrioReader(original).read()


class _CrioReader(TomlReader):
    def __init__(self, original: Original) -> None:
        super().__init__(original)
        section: Mapping[str, object] = self.document
        for depth, key in enumerate(SECTION[:-1], 1):
            section = self.table(section.get(key), *SECTION[:depth])
        self._default = self.text(section.get(DEFAULT[-1]), *DEFAULT)
        given = self.table(section.get(SECTION[-1]), *SECTION)
        self._handlers = {name: self.table(handler, *SECTION, name) for name, handler in given.items()}

    def read(self) -> Translation:
        if self._default == BUILT_IN:
            self._handlers.setdefault(BUILT_IN, {})
        if not self._handlers and not self._default:
            self.remark_at(f"there are no runtimes here; CRI-O then has its built-in {BUILT_IN}", *SECTION)
        runtimes: dict[str, object] = {}
        for name, handler in self._handlers.items():
            entry = self._entry(name, handler)
            if name == RUNC_NAME and name not in self.renames:
                self._check_stock(entry)
            elif entry is not None:
                runtimes[name] = entry
        dropin: dict[str, object] = {"runtimes": runtimes} if runtimes else {}
        if self._default:
            dropin["default-runtime"] = self._default
        return self.finish(dropin, self._locate)

    def _entry(self, name: str, handler: Mapping[str, object]) -> dict[str, object] | None:
        """Return one runtime of the drop-in; None if it has no equivalent."""
        where = (*SECTION, name)
        source = (self._default or BUILT_IN) if handler.get(INHERIT) is True else name
        inherited = self._handlers.get(source, {})
        kind, path, config_path = (
            self.text(inherited.get(key), *SECTION, source, key) for key in (TYPE, PATH, CONFIG_PATH)
        )
        carried = {key: value for key, value in handler.items() if value and key not in (PATH, TYPE, CONFIG_PATH)}
        for (key, *inner), value in unknown_to_json(dict(carried)):
            message = f"found {value}, and no key of a runtime is a date, a time or an infinite number"
            self.problem_at(message, value, "another value", *where, str(key), *map(str, inner))
            carried.pop(str(key), None)
        if kind == POD:
            carried[TYPE] = POD
        entry: dict[str, object] = {}
        if kind == VM:
            shim = self._shim(path or source, *where)
            if shim is None:
                return None
            if carried.get(ROOT) == VM_ROOT:
                del carried[ROOT]
            entry = {"runtimeType": shim, **({"options": {"ConfigPath": config_path}} if config_path else {})}
        elif kind in ("", OCI, POD):
            entry = {"path": path or source}
        else:
            self.problem_at(f"CRI-O has no type {called(kind)}", kind, f"{OCI}, {POD} or {VM}", *where, TYPE)
            return None
        return {**entry, **({"engines": {"crio": carried}} if carried else {})}

    def _shim(self, path: str, *where: str) -> str | None:
        """Return the shim whose binary is ``path``, or has this name; None, with a problem, if CRI-O refuses it."""
        file = SHIM_FILE.fullmatch(posixpath.basename(path))
        if path.startswith("/") and file is not None:
            return path
        if "/" in path or file is None or file[1] is None:
            expected = "a path that ends in containerd-shim-NAME"
            self.problem_at(f"CRI-O refuses {called(path)} as a shim", path, expected, *where, PATH)
            return None
        return f"io.containerd.{file[1]}.{file[2]}"

    def _check_stock(self, entry: Mapping[str, object] | None) -> None:
        """Add a problem if runc is not the stock runtime, and a remark on the keys that it loses."""
        where = (*SECTION, RUNC_NAME)
        path = str((entry or {}).get("path", ""))
        carried = (entry or {}).get("engines", {})
        if not is_runc_of_node(path):
            self.problem_at(RUNC_IS_RESERVED, path, "the runc of this node", *where)
        elif isinstance(carried, dict) and carried:
            text = (
                f"is the stock runc, which carries no keys: {', '.join(carried['crio'])}; --rename runc=NAME keeps them"
            )
            self.remark_at(text, *where)

    def _locate(self, pointer: Pointer) -> Location:
        match pointer:
            case ("default-runtime", *_):
                return self.location(*DEFAULT)
            case ("runtimes", name, "options", *_):
                return self.location(*SECTION, str(name), CONFIG_PATH)
            case ("runtimes", name, "path" | "runtimeType", *_):
                return self.location(*SECTION, str(name), PATH)
            # CRI-O has the carried keys in the entry itself.
            case ("runtimes", name, "engines", _, *keys) | ("runtimes", name, *keys):
                return self.location(*SECTION, str(name), *map(str, keys))
            case _:
                return self.location(*SECTION)
