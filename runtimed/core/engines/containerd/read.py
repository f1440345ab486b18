"""Translates the runtimes of the CRI plugin in containerd's config.toml into a drop-in that has the same effect.

Keys of an entry that only containerd knows are carried in the entry's ``engines``. All runtimes become ``runtimeType``
runtimes, also those with runc's shim: a ``path`` runtime would get runtimed's root and cgroup driver instead of the
options in the file. The name ``runc`` is reserved: such an entry is translated into settings of the stock runtime if
these can express it, and is a problem otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from runtimed.core.configuration.position import Pointer
from runtimed.core.containerd.names import RUNC_NAME, RUNC_SHIM
from runtimed.core.containerd.options import GENERIC, message_of
from runtimed.core.engines.containerd.imports import MAIN_FILE
from runtimed.core.engines.containerd.layout import NAME, PLUGINS, is_default, table_at
from runtimed.core.engines.engine import Original
from runtimed.core.engines.syntax import render_toml, shown_toml, unknown_to_json
from runtimed.core.engines.toml_reader import TomlReader
from runtimed.core.engines.translation import RUNC_IS_RESERVED, Translation, is_option
from runtimed.core.errors import ConfigurationRejected
from runtimed.core.message_text import called

_LEGACY_SHIM = "io.containerd.runtime.v1.linux"
_REMOVED = "left out: only containerd's first shim had it, which containerd 2 has removed"
# Keys of an entry that have no effect.
_WITHOUT_EFFECT: Mapping[str, str] = MappingProxyType(
    {"runtime_engine": _REMOVED, "runtime_root": f"{_REMOVED}; use Root in options"}
)
# Keys beside the runtimes that have no equivalent, with the reason.
_WHY: Mapping[str, str] = MappingProxyType(
    {
        "default_runtime": "is an old way to write the runtime 'default'; put it below runtimes, and import that",
        "untrusted_workload_runtime": "is an old way to write the runtime 'untrusted'; put it below runtimes instead",
        "snapshotter": "is about images, which runtimed does not manage",
    }
)
_REWRITE = (
    "containerd 2 rewrites the file in its latest version with `containerd config migrate`; containerd 1 has no "
    'such command: there, write `version = 2` and rename [plugins.cri] to [plugins."io.containerd.grpc.v1.cri"]'
)
# Keys of a drop-in and containerd's keys for them.
_ORIGINAL_KEYS: Mapping[object, str] = MappingProxyType(
    {"default-runtime": "default_runtime_name", "runtimeType": "runtime_type"}
)


def read_containerd(original: Original) -> Translation:
    """Return the drop-in for the runtimes of ``original``, a config.toml.

    Default values cause no remarks, because containerd writes them all out.

    Raises:
        ConfigurationRejected: the layout is unknown, or runtimed would not accept the translation.
    """
    return _ContainerdReader(original).read()


class _ContainerdReader(TomlReader):
    def __init__(self, original: Original) -> None:
        super().__init__(original)
        # The keys that lead to the section with the runtimes in this version of the layout.
        self._section: tuple[str, ...] = ()

    def read(self) -> Translation:
        self._remark_imports()
        self._section = ("plugins", self._find_plugin(), "containerd")
        section = self.document
        for depth, key in enumerate(self._section, 1):
            section = self.table(section.get(key), *self._section[:depth])
        self._remark_others(section)
        dropin: dict[str, object] = {}
        runtimes: dict[str, object] = {}
        for name, value in self.table(section.get("runtimes"), *self._section, "runtimes").items():
            entry = self.table(value, *self._section, "runtimes", name)
            if name == RUNC_NAME and name not in self.renames:
                dropin.update(self._stock(entry))
            else:
                runtimes[name] = self._entry(name, entry)
        if runtimes:
            dropin["runtimes"] = runtimes
        self._add_default(dropin, section)
        for pointer, value in unknown_to_json(dropin):
            message = f"found {value}, and no field of a runtime is a date, a time or an infinite number"
            self.problem_at(message, value, "another value", *self._keys_of(pointer))
        return self.finish(dropin, lambda pointer: self.location(*self._keys_of(pointer)))

    def _find_plugin(self) -> str:
        """Return the plugin whose section has the runtimes in this version."""
        version = self.document.get("version")
        if type(version) is int and version in PLUGINS:
            return PLUGINS[version]
        found = f"version {shown_toml(version)}" if "version" in self.document else "no version, which means 1"
        known = f"{', '.join(map(str, [*PLUGINS][:-1]))} and {max(PLUGINS)}"
        self.problem_at(
            f"found {found}, and the versions whose layout is known are {known}; {_REWRITE}",
            self.document.get("version", 1),
            f"version {known}",
            "version",
        )
        raise ConfigurationRejected(tuple(self.problems), remarks=tuple(self.remarks))

    def _add_default(self, dropin: dict[str, object], section: Mapping[str, object]) -> None:
        default = section.get("default_runtime_name")
        if default and default != RUNC_NAME and not section.get("runtimes"):
            message = (
                f"this file has a default runtime, {shown_toml(default)}, and no runtimes: it is a drop-in, and "
                "another file has the runtime; import the output of `containerd config dump`, which merges all files"
            )
            where = (*self._section, "default_runtime_name")
            self.problem_at(message, default, "the runtime that it names", *where)
            return
        if not dropin:
            text = "there are no runtimes here; containerd then has one, its built-in runc"
            self.remark_at(text, *self._section, "runtimes")
        if default:
            dropin["default-runtime"] = default

    def _remark_imports(self) -> None:
        """Remark on imports, which are not read, unless the file is a dump, which contains them."""
        imports = self.document.get("imports")
        # `containerd config dump` lists all files that it merged, with the main file; a real file cannot import itself.
        if not isinstance(imports, list) or any(path in (MAIN_FILE, self.original.source.path) for path in imports):
            return
        for path in imports:
            text = (
                f"the import {shown_toml(path)} was not read, so its content is missing here; import the output of "
                "`containerd config dump`, which merges all files (if this file is such an output, and its main file "
                "has an unusual path, nothing is missing)"
            )
            self.remark_at(text, "imports")

    def _remark_others(self, section: Mapping[str, object]) -> None:
        """Remark on the rest of the section, and on the section of another version."""
        plugins = self.document.get("plugins")
        for plugin in dict.fromkeys(PLUGINS.values()):
            other = plugins.get(plugin) if isinstance(plugins, dict) else None
            # Version 3 also has a section of the other name, but not with this table in it.
            if plugin not in self._section and isinstance(other, dict) and "containerd" in other:
                versions = " or ".join(str(version) for version in PLUGINS if PLUGINS[version] == plugin)
                text = f"is where version {versions} has runtimes; this file has another version, so they are left out"
                self.remark_at(text, "plugins", plugin, "containerd")
        for key, value in section.items():
            if key not in ("runtimes", "default_runtime_name") and not is_default(key, value):
                self.remark_at(f"{shown_toml(value)} {_WHY.get(key, 'is not part of a runtime')}", *self._section, key)

    def _entry(self, name: str, entry: Mapping[str, object]) -> dict[str, object]:
        """Return one runtime of the drop-in; the check of the drop-in rejects a wrong type and wrong options."""
        where = (*self._section, "runtimes", name)
        kind = entry.get("runtime_type")
        if kind == _LEGACY_SHIM:
            message = f"runtime {called(name)}: containerd 2 has removed this shim; {RUNC_SHIM} replaces it"
            self.problem_at(message, kind, "a shim that exists", *where, "runtime_type")
            return {"runtimeType": RUNC_SHIM}
        given = self.table(entry.get("options"), *where, "options")
        carried = self._carried(entry, *where)
        path = carried.get("runtime_path")
        if path and isinstance(kind, str) and message_of(kind) == GENERIC:
            # A shim may be named by its path; the options of all such shims are the same message.
            kind, carried["runtime_type"] = path, kind
        options = self._options(message_of(kind), given, *where) if isinstance(kind, str) else {}
        result: dict[str, object] = {"runtimeType": kind}
        if options:
            result["options"] = options
        if carried:
            result["engines"] = {NAME: carried}
        return result

    def _carried(self, entry: Mapping[str, object], *where: str) -> dict[str, object]:
        """Return the keys of an entry that only containerd knows."""
        carried = {}
        for key, value in entry.items():
            if key in ("runtime_type", "options") or is_default(key, value):
                continue
            if found := next((item for _, item in unknown_to_json(value)), None):
                self.remark_at(f"left out: {found} is a value that JSON lacks", *where, key)
            elif text := _WITHOUT_EFFECT.get(key):
                self.remark_at(f"{shown_toml(value)} {text}", *where, key)
            else:
                carried[key] = value
        return carried

    def _options(self, message: str, options: Mapping[str, object], *where: str) -> dict[str, object]:
        """Return the options that containerd would pass on."""
        given = {key: value for key, value in options.items() if not is_default(key, value)}
        kept = {key: value for key, value in given.items() if is_option(key, message)}
        unknown = [key for key in given if key not in kept]
        text = f"containerd drops this key, which is no option of {message}, and so does the translation"
        if unknown and message == GENERIC and not any(key.casefold() == "configpath" for key in kept):
            text = "is the shim's own, so it gets all options as the text of ConfigBody; containerd 1.6 drops it"
            kept = {"ConfigBody": render_toml(options), **{k: v for k, v in kept.items() if k != "ConfigBody"}}
        for key in unknown:
            self.remark_at(text, *where, "options", key)
        return kept

    def _stock(self, entry: Mapping[str, object]) -> dict[str, object]:
        """Return the settings with which the stock ``runc`` equals containerd's."""
        where = (*self._section, "runtimes", RUNC_NAME)
        found = self._entry(RUNC_NAME, entry)
        given = found.get("options", {})
        options = {key.casefold(): value for key, value in given.items()} if isinstance(given, dict) else {}
        root, systemd = options.pop("root", ""), options.pop("systemdcgroup", False)
        if found.get("runtimeType") != RUNC_SHIM or options.pop("binaryname", RUNC_NAME) != RUNC_NAME or options:
            expected = f"{RUNC_SHIM} with no options but Root and SystemdCgroup"
            self.problem_at(RUNC_IS_RESERVED, found, expected, *where)
            return {}
        for key, value in table_at(found, "engines", NAME).items():
            text = f"{shown_toml(value)} is left out with the entry; --rename runc=NAME keeps both under another name"
            self.remark_at(text, *where, key)
        if root:
            text = f"{shown_toml(root)} is left out: runtimed sets the root of its stock runc"
            self.remark_at(text, *where, "options", "Root")
        driver = "systemd" if systemd is True else "cgroupfs"
        text = f"is the stock runc with native.cgroupdriver={driver}, which holds for all path runtimes of runtimed"
        self.remark_at(text, *where)
        return {"exec-opts": [f"native.cgroupdriver={driver}"]}

    def _keys_of(self, pointer: Pointer) -> Iterator[str]:
        """Yield containerd's keys for a place in the drop-in; the part at depth 1 is the name of a runtime."""
        yield from self._section
        # Keys that are carried lie beside the others in containerd's entry.
        skipped = (2, 3) if pointer[2:3] == ("engines",) else ()
        for depth, part in enumerate(pointer):
            if depth in skipped:
                continue
            yield str(part) if depth == 1 else _ORIGINAL_KEYS.get(part, str(part))
