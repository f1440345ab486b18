"""Plans how to write runtimed's file among those that containerd imports."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from runtimed.core.configuration.inputs import Source
from runtimed.core.engines.command_line import remarks_on_file
from runtimed.core.engines.containerd.dumps import judge_dumps
from runtimed.core.engines.containerd.imports import DIRECTORY, MAIN_FILE, USUAL, absolute, names, replace_import
from runtimed.core.engines.containerd.layout import PLUGINS, table_at
from runtimed.core.engines.containerd.view import describe
from runtimed.core.engines.containerd.write import write_runtimes
from runtimed.core.engines.engine import ExportOptions, Found, Plan, Run, Table, Writing
from runtimed.core.engines.ownership import owned_write
from runtimed.core.engines.syntax import dotted, parse_toml, render_toml
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import shown

FILE = f"{DIRECTORY}/50-runtimed.toml"
# The program's name, its package, and its version: `1.6.20~ds1`, `v2.1.4`.
_VERSION = re.compile(r"\S+ \S+ v?([0-9]+)\.([0-9]+)")
# k3s and RKE2 start theirs with another file.
_CONFIG_FLAGS = ("--config", "-c", "-config")
# The first containerd with a version of the configuration.
_SINCE: Mapping[tuple[int, int], int] = {(2, 3): 4, (2, 0): 3, (0, 0): 2}
# Without one of these plugins, containerd has no use for the tables. Version 1 called it by the last name.
_CRI = (*dict.fromkeys(PLUGINS.values()), "cri")


def _plan(table: Table, options: ExportOptions, found: Found) -> Plan:
    """Return how to write the runtimes of ``table`` into runtimed's file.

    The checks have containerd dump its configuration without the file and with the new one.

    Raises:
        ConfigurationRejected: containerd would not read the file, or the file is not runtimed's.
    """
    release = _release(found.version)
    main = parse_toml(Source(MAIN_FILE, found.files[MAIN_FILE])) if MAIN_FILE in found.files else {}
    given = main.get("imports")
    imports = [entry for entry in given if isinstance(entry, str)] if isinstance(given, list) else []
    there = [path for path in found.files if posixpath.dirname(path) == DIRECTORY]
    without = replace_import(imports, there, FILE, None)
    read = [path for path in (MAIN_FILE, *without) if path in found.files]
    others = {path: parse_toml(Source(path, found.files[path])) for path in read}
    _check_plugins(others)
    version = options.config_version or _config_version(release, main)
    _check_imports(imports, release, version, found)
    written = write_runtimes(table, version)
    name = posixpath.basename(FILE)
    with_new = replace_import(imports, there, FILE, f"{found.scratch}/{name}")
    document = written.document
    remarks = (*written.remarks, *remarks_on_file(found.command_line, _CONFIG_FLAGS, MAIN_FILE, FILE))
    if release < (2, 0):
        earlier = with_new[: with_new.index(f"{found.scratch}/{name}")]
        document, copied = _with_section(document, {path: others.get(path, {}) for path in (MAIN_FILE, *earlier)})
        remarks = (*remarks, *copied)
    new = owned_write(FILE, render_toml(document), found)
    scratch = {
        name: new.data,
        "without.toml": render_toml({**main, "imports": without}).encode(),
        "with.toml": render_toml({**main, "imports": with_new}).encode(),
    }
    checks = (_dump(f"{found.scratch}/without.toml"), _dump(f"{found.scratch}/with.toml"))
    return Plan((new,), remarks, scratch, checks, judge=partial(judge_dumps, document, others))


def _with_section(
    document: Mapping[str, Any], earlier: Mapping[str, object]
) -> tuple[Mapping[str, Any], list[Problem]]:
    """Return ``document`` with the rest of its plugin's section in the last file that has one, and remarks on that.

    ``earlier`` are the files that containerd reads before.
    """
    ((plugin, ours),) = document["plugins"].items()
    sections = {path: section for path, file in earlier.items() if (section := table_at(file, "plugins", plugin))}
    if not sections:
        return document, []
    path, section = sections.popitem()
    others, own = table_at(section, "containerd"), ours["containerd"]
    theirs = table_at(others, "runtimes")
    merged = {**section, "containerd": {**others, **own, "runtimes": {**theirs, **own["runtimes"]}}}
    text = f"has a copy of the rest from {path}, because before containerd 2.0 an import replaces the whole section"
    remarks = [Problem(text, FILE, pointer=dotted("plugins", plugin))]
    for name in sorted(theirs.keys() & own["runtimes"].keys()):
        before, after = describe(table_at(theirs, name)), describe(own["runtimes"][name])
        if before != after:
            text = f"replaces the entry in {path}: containerd executes {after} instead of {before}"
            remarks.append(Problem(text, FILE, pointer=dotted("plugins", plugin, "containerd", "runtimes", name)))
    return {**document, "plugins": {plugin: merged}}, remarks


def _dump(file: str) -> Run:
    return Run(("containerd", "--config", file, "config", "dump"))


def _release(version: str | None) -> tuple[int, int]:
    """Return major and minor number of a containerd that prints ``version``."""
    if version is None:
        message = (
            "this node has no program containerd to check the file with; link it into /usr/local/bin if it is elsewhere"
        )
        raise ConfigurationRejected((Problem(message, FILE),))
    match = _VERSION.match(version)
    if match is None:
        message = f"containerd --version printed {shown(version.strip())}, in which no version is found"
        raise ConfigurationRejected((Problem(message, FILE),))
    return int(match[1]), int(match[2])


def _config_version(release: tuple[int, int], main: Mapping[str, object]) -> int:
    """Return the version for a file that this containerd reads together with the main file.

    It refuses a file of a higher version than the main file's (2.3), or then misreads the main file (2.0 to 2.2).
    """
    newest = next(version for since, version in _SINCE.items() if release >= since)
    version = main.get("version")
    return version if isinstance(version, int) and version in PLUGINS and version < newest else newest


def _check_plugins(files: Mapping[str, Mapping[str, object]]) -> None:
    """Raise ConfigurationRejected where containerd has no plugin that uses the runtimes."""
    for file, document in files.items():
        disabled = document.get("disabled_plugins")
        for plugin in _CRI:
            if isinstance(disabled, list) and plugin in disabled:
                text = f"disables {plugin}, so that containerd would use none of the runtimes; remove it from the list"
                problem = Problem(text, file, pointer="disabled_plugins", found=plugin, expected="other plugins")
                raise ConfigurationRejected((problem,))


def _check_imports(imports: Sequence[str], release: tuple[int, int], version: int, found: Found) -> None:
    """Raise ConfigurationRejected where containerd would not read runtimed's file."""
    # Before 1.7.20, containerd resolved a relative pattern against its working directory.
    usable = [entry for entry in imports if release >= (2, 0) or "*" not in entry or entry.startswith("/")]
    if any(names(absolute(entry), FILE) for entry in usable):
        return
    line = f"imports = {json.dumps([*imports, USUAL])}"
    if MAIN_FILE not in found.files:
        message = (
            f"does not exist, so containerd imports no file; make it with the lines `version = {version}` and `{line}`"
        )
    elif imports:
        message = f"does not import {FILE}; change the line to `{line}`"
    else:
        message = f"imports no file; add the line `{line}` above the first table"
    others = [path for path in sorted(found.files) if path not in (MAIN_FILE, FILE) and names(USUAL, path)]
    if others:
        message += f" (containerd then also reads {', '.join(others)})"
    raise ConfigurationRejected((Problem(message, MAIN_FILE, pointer="imports", expected=f"a list with {USUAL}"),))


WRITING = Writing(
    path=FILE,
    inputs=(MAIN_FILE, FILE, f"{DIRECTORY}/*"),
    version=Run(("containerd", "--version")),
    plan=_plan,
)
