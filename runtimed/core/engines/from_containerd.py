"""containerd's config.toml -> a drop-in that means the same: the runtimes of its CRI plugin.

They become ``runtimeType`` runtimes, those of runc's shim too: their options go to the shim as they are, where a
``path`` runtime would get runtimed's own root and cgroup driver. Only ``runc`` cannot be one, because that name is
reserved: it is what the stock runtime is where containerd's says no more than that, and a problem where it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from runtimed.core.configuration.position import Pointer, Spot
from runtimed.core.containerd.names import RUNC_NAME, RUNC_SHIM
from runtimed.core.containerd.options import GENERIC, MESSAGES, message_of
from runtimed.core.engines.acceptance import accept
from runtimed.core.engines.layout import PLUGINS, dotted
from runtimed.core.engines.translation import Remark, Translation, TranslationRejected
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called, shown

# A table -> TOML's text of it.
RenderToml = Callable[[Mapping[str, object]], str]

_LEGACY_SHIM = "io.containerd.runtime.v1.linux"
_POD = "belongs to pods, which CRI makes; a shim's options cannot say it"
# What an entry says besides its type and options, and why that has no equivalent.
_WHY: Mapping[str, str] = MappingProxyType(
    {
        "base_runtime_spec": "the OCI specification is made by whoever starts a container; runtimed has no part in it",
        "runtime_engine": "only containerd's first shim had it, which is no more",
        "runtime_root": "only containerd's first shim had it, which is no more; Root in options is what there is now",
        "runtime_path": "names the shim's binary, which runtimed finds by the shim's name on PATH",
        "default_runtime": "is an old way to write the runtime 'default'; put it below runtimes, and import that",
        "untrusted_workload_runtime": "is an old way to write the runtime 'untrusted'; put it below runtimes instead",
        "snapshotter": "is about images; runtimed has no part in them",
    }
)
# Where containerd has its main file unless it is told otherwise.
_MAIN_FILE = "/etc/containerd/config.toml"
_REWRITE = (
    "containerd 2 writes the file anew in its latest version with `containerd config migrate`; containerd 1 has no "
    'such command: there, write `version = 2` and rename [plugins.cri] to [plugins."io.containerd.grpc.v1.cri"]'
)
# Written out by containerd where nobody asked for it.
_DEFAULTS = frozenset({("sandboxer", "podsandbox"), ("sandbox_mode", "podsandbox")})


def read_containerd(
    document: Mapping[str, object],
    file: str,
    render_toml: RenderToml,
    renames: Mapping[str, str] = MappingProxyType({}),
) -> Translation:
    """Return the drop-in that says of runtimes what ``document``, a config.toml read from ``file``, says.

    ``renames`` is old name -> new name. What is empty, 0 or false says nothing in these files, and nothing is
    remarked of it: containerd writes all of it out.

    Raises:
        TranslationRejected: the layout is unknown, or runtimed would not take the translation.
    """
    reading = _Reading(document, file, render_toml, renames)
    try:
        return reading.translation()
    except ConfigurationRejected as rejection:
        raise TranslationRejected(rejection, reading.remarks) from rejection


class _Reading:
    """One file while it is read: what was remarked and what was found wrong so far."""

    def __init__(
        self, document: Mapping[str, object], file: str, render_toml: RenderToml, renames: Mapping[str, str]
    ) -> None:
        self._document = document
        self._file = file
        self._render_toml = render_toml
        self._renames = renames
        self._remarks: list[Remark] = []
        self._problems: list[Problem] = []
        # The plugin whose section has the runtimes in this version.
        self._plugin = ""

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What was remarked so far."""
        return tuple(self._remarks)

    def translation(self) -> Translation:
        """Return all of it."""
        self._remark_imports()
        self._plugin = self._find_plugin()
        way = ("plugins", self._plugin, "containerd")
        at: Mapping[str, object] = self._document
        for depth in range(len(way)):
            at = self._table(at.get(way[depth]), *way[: depth + 1])
        self._remark_surroundings()
        self._remark_others(at, *way)
        dropin: dict[str, object] = {}
        runtimes: dict[str, object] = {}
        for name, raw in self._table(at.get("runtimes"), *way, "runtimes").items():
            entry = self._table(raw, *way, "runtimes", name)
            if name == RUNC_NAME and name not in self._renames:
                dropin.update(self._stock(entry))
            else:
                runtimes[name] = self._entry(name, entry)
        default = at.get("default_runtime_name")
        if runtimes:
            dropin["runtimes"] = runtimes
        elif default and default != RUNC_NAME and not at.get("runtimes"):
            self._refuse_lone_default(default, *way, "default_runtime_name")
            default = None
        elif not dropin:
            self._remark("there are no runtimes here; containerd then has one, its built-in runc", *way, "runtimes")
        if default:
            dropin["default-runtime"] = default
        for pointer, value in _dates(dropin):
            message = f"found {value}, and nothing of a runtime is a date or a time"
            self._problems.append(self._spot_of(pointer).problem(message, str(value), "no date"))
        return Translation(accept(dropin, self._renames, self._spot_of, self._problems), self.remarks)

    def _find_plugin(self) -> str:
        """Return the plugin whose section has the runtimes in this version."""
        version = self._document.get("version")
        if type(version) is int and version in PLUGINS:
            return PLUGINS[version]
        found = f"version {_shown(version)}" if "version" in self._document else "no version, which means 1"
        known = " and ".join(map(str, PLUGINS))
        message = f"found {found}, and the versions whose layout is known are {known}; {_REWRITE}"
        raise ConfigurationRejected((self._spot("version").problem(message, found, f"version {known}"),))

    def _refuse_lone_default(self, default: object, *way: str) -> None:
        message = (
            f"this file has a default runtime, {_shown(default)}, and no runtimes: it is a drop-in, and the runtime is "
            "in another file; import the output of `containerd config dump`, which has what all files say together"
        )
        self._problems.append(self._spot(*way).problem(message, _shown(default), "the runtime that it names"))

    def _remark_imports(self) -> None:
        """Remark on the imports, which are not read, but for a dump: that has their content already."""
        found = self._document.get("imports")
        imports = found if isinstance(found, list) else []
        # `containerd config dump` lists every file that was loaded, the main file too; no file can import itself.
        if any(path in (_MAIN_FILE, self._file) for path in imports):
            return
        for path in imports:
            text = (
                f"the import {_shown(path)} was not read, so what it says is missing here; `containerd config dump` "
                "prints what all files say together, import its output (where this file is such an output with its "
                "main file at an unusual path, all is here)"
            )
            self._remark(text, "imports")

    def _remark_others(self, section: Mapping[str, object], *way: str) -> None:
        for key, value in section.items():
            if key not in ("runtimes", "default_runtime_name") and not _says_nothing(key, value):
                self._remark(f"{_shown(value)} {_WHY.get(key, 'is no part of the table of runtimes')}", *way, key)

    def _remark_surroundings(self) -> None:
        plugins = self._document.get("plugins")
        for version, plugin in PLUGINS.items():
            section = plugins.get(plugin) if isinstance(plugins, dict) else None
            # In version 3 there is a section of the other's name as well, with other things in it.
            if plugin != self._plugin and isinstance(section, dict) and "containerd" in section:
                text = f"is where version {version} has runtimes; this file is not of it, and they are left out"
                self._remark(text, "plugins", plugin, "containerd")

    def _entry(self, name: str, entry: Mapping[str, object]) -> dict[str, object]:
        """Return one runtime as runtimed has it; what is wrong with its type and options is left for the check."""
        way = ("plugins", self._plugin, "containerd", "runtimes", name)
        kind = entry.get("runtime_type")
        if kind == _LEGACY_SHIM:
            message = f"runtime {called(name)}: containerd 2 has this shim no more; {RUNC_SHIM} came in its place"
            self._problems.append(self._spot(*way, "runtime_type").problem(message, shown(kind), "a shim there is"))
            return {"runtimeType": RUNC_SHIM}
        generic = isinstance(kind, str) and message_of(kind) == GENERIC
        for key, value in entry.items():
            if key == "runtime_path" and value and generic:
                # A shim may be named by its path, and the options of all such are of the same message.
                kind = value
            elif key not in ("runtime_type", "options") and not _says_nothing(key, value):
                self._remark(f"{_shown(value)} {_WHY.get(key, _POD)}", *way, key)
        given = self._table(entry.get("options"), *way, "options")
        options = self._options(message_of(kind), given, *way) if isinstance(kind, str) else {}
        return {"runtimeType": kind, **({"options": options} if options else {})}

    def _options(self, message: str, given: Mapping[str, object], *way: str) -> dict[str, object]:
        """Return the options that containerd would pass on."""
        known = {field.go_name.casefold() for field in MESSAGES[message]}
        kept = {key: value for key, value in given.items() if key.casefold() in known and not _says_nothing(key, value)}
        unknown = [key for key, value in given.items() if key.casefold() not in known and not _says_nothing(key, value)]
        if unknown and message == GENERIC and not any(key.casefold() == "configpath" for key in kept):
            text = "is the shim's own, so it gets all of the options as the text of ConfigBody; containerd 1.6 drops it"
            for key in unknown:
                self._remark(text, *way, "options", key)
            return {"ConfigBody": self._render_toml(given), **{k: v for k, v in kept.items() if k != "ConfigBody"}}
        for key in unknown:
            text = f"containerd drops this key, which is no option of {message}, and so does the translation"
            self._remark(text, *way, "options", key)
        return kept

    def _stock(self, entry: Mapping[str, object]) -> dict[str, object]:
        """Return the settings by which the stock ``runc`` is containerd's."""
        way = ("plugins", self._plugin, "containerd", "runtimes", RUNC_NAME)
        found = self._entry(RUNC_NAME, entry)
        given = found.get("options", {})
        options = {key.casefold(): value for key, value in given.items()} if isinstance(given, dict) else {}
        root, systemd = options.pop("root", ""), options.pop("systemdcgroup", False)
        if found.get("runtimeType") != RUNC_SHIM or options.pop("binaryname", RUNC_NAME) != RUNC_NAME or options:
            message = (
                "the name 'runc' is reserved: in runtimed it always means the runc of this node, and this one is "
                "something else; give it another name with --rename runc=NAME"
            )
            expected = f"{RUNC_SHIM} with no options but Root and SystemdCgroup"
            self._problems.append(self._spot(*way).problem(message, "another runc", expected))
            return {}
        if root:
            text = f"{_shown(root)} is left out: the stock runc of runtimed has a root of runtimed's own"
            self._remark(text, *way, "options", "Root")
        driver = "systemd" if systemd is True else "cgroupfs"
        text = f"is the stock runc with native.cgroupdriver={driver}, which holds for all path runtimes of runtimed"
        self._remark(text, *way)
        return {"exec-opts": [f"native.cgroupdriver={driver}"]}

    def _table(self, value: object, *way: str) -> Mapping[str, object]:
        if value is None or isinstance(value, dict):
            return value or {}
        message = f"found {_shown(value)}, expected a table"
        self._problems.append(self._spot(*way).problem(message, _shown(value), "a table"))
        return {}

    def _remark(self, message: str, *way: str) -> None:
        self._remarks.append(Remark(self._spot(*way), message))

    def _spot(self, *way: str) -> Spot:
        return Spot(self._file, pointer=dotted(*way))

    def _spot_of(self, pointer: Pointer) -> Spot:
        return self._spot("plugins", self._plugin, "containerd", *_original(pointer))


def _original(pointer: Pointer) -> Iterator[str]:
    """Yield the keys that containerd has for a place in a drop-in."""
    names = {"default-runtime": "default_runtime_name", "runtimeType": "runtime_type"}
    for depth, part in enumerate(pointer):
        yield str(part) if depth == 1 else names.get(str(part), str(part))


def _says_nothing(key: str, value: object) -> bool:
    """Return whether containerd would be the same without it: a default value, or a table of nothing else."""
    if isinstance(value, dict):
        return all(_says_nothing(inner, item) for inner, item in value.items())
    return not value or (isinstance(value, str) and (key, value) in _DEFAULTS)


def _dates(value: object, pointer: Pointer = ()) -> Iterator[tuple[Pointer, object]]:
    """Yield what TOML has and daemon.json has not, which is dates and times, with where it stands in a drop-in."""
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield from _dates(item, (*pointer, key))
    elif not isinstance(value, str | int | float | None):
        yield pointer, value


def _shown(value: object) -> str:
    return shown(value) if isinstance(value, str | int | float | dict | list) else str(value)
