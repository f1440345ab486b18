"""The rooms of the house and who may import whom, read from the imports themselves."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runtimed

HOUSE = Path(runtimed.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))

# What pure code may use of the standard library: nothing that does I/O, tells the time, or waits.
PURE = {
    *("__future__", "array", "base64", "binascii", "bisect", "codecs", "collections", "dataclasses", "difflib", "enum"),
    *(
        "functools",
        "hashlib",
        "importlib",  # for modules of core itself
        "itertools",
        "json",
        "math",
        "operator",
        "posixpath",
        "re",
        "shlex",
        "string",
        "tomllib",
        "types",
        "typing",
        "zlib",
    ),
}
# The rooms, and which others each may import. "" is the package itself, which imports nothing.
MAY = {
    "": set(),
    "streams": set(),
    "core": {""},
    "host": {"", "core"},
    "reload": {"core"},
    "api": {"", "core"},
    "inspection": {"core", "host"},
    "client": {""},
    "cli": {"", "client", "core", "host", "streams"},
    "daemon": {"", "core", "host", "reload", "api", "inspection", "client"},
    "__main__": {"daemon", "streams"},
}
# Rooms that a module may name in its annotations only, behind TYPE_CHECKING, so that it never imports them.
MAY_NAME = {"client": {"core"}}
# Single modules that another room may import as well.
MAY_IMPORT = {"client": {"runtimed.core.problem_codes"}}
# Modules of core that import nothing, so that runtimectl may load them at its start.
LIGHT = {"runtimed.core.message_text", "runtimed.core.engines"}
# Modules of runtimectl that work on engines' files. They load the daemon's code, so others import them late.
FOR_ENGINES = {"translate", "engine_node", "engine_files", "verify", "sync", "proof"}
# Rooms whose modules do not import each other: each receives functions instead.
APART = {"host"}
THIRD_PARTY = {
    "core": {"pydantic", "pydantic_core", "google", "tomli_w"},
    "host": {"watchdog", "grpc"},
    "api": {"httptools", "prometheus_client"},
    "reload": {"structlog"},
    "inspection": {"structlog"},
    "daemon": {"structlog"},
}


def imports(path: Path) -> Iterator[str]:
    return (name for name, _ in all_imports(path))


def all_imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield what a module imports, and whether that is for its annotations only."""
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text()), False)]
    while waiting:
        node, named_only = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += [(child, True) for child in node.body]
            waiting += [(child, named_only) for child in node.orelse]
            continue
        waiting += [(child, named_only) for child in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Import):
            yield from ((alias.name, named_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides which room it reaches"
            yield node.module or "", named_only


def parts(path: Path) -> tuple[str, ...]:
    """Return the path of a module in the package: ("core", "config"), ("__main__",), () for the package itself."""
    found = path.relative_to(HOUSE).with_suffix("").parts
    return found[:-1] if found[-1] == "__init__" else found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(parts(path)) or "runtimed")
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room, *inner = (*parts(path), "")[:2]
    for name, named_only in all_imports(path):
        top, *rest = name.split(".")
        if top == "runtimed":
            target = rest[0] if rest else ""
            may = MAY[room] | (MAY_NAME.get(room, set()) if named_only else set())
            allowed = target == room or target in may or name in MAY_IMPORT.get(room, ())
            assert allowed, f"{room or 'runtimed'} may not import {name}"
            if room == target and room in APART and len(rest) > 1:
                assert rest[1] == inner[0], (
                    f"{room}.{inner[0]} may not import {room}.{rest[1]}: receive a function instead"
                )
        elif top in sys.stdlib_module_names:
            assert room != "core" or top in PURE, f"core may not import {name}: it is not pure"
        else:
            assert top in THIRD_PARTY.get(room, set()), f"{room} may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(parts(path)) or "runtimed")
def test_no_module_needs_what_is_optional_or_heavy_to_be_imported(path: Path) -> None:
    inner = (ast.FunctionDef, ast.AsyncFunctionDef)
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, inner)]
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        late = {name.split(".")[0] for name in names} & {"grpc", "prometheus_client"}
        assert not late, f"{path}: import {late} where it is used"


@pytest.mark.parametrize("path", [path for path in MODULES if parts(path)[:1] == ("cli",)], ids=lambda path: path.stem)
def test_the_command_line_tool_loads_the_daemons_code_for_engines_only(path: Path) -> None:
    if path.stem in FOR_ENGINES:
        return
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
            names = {module, *(f"{module}.{alias.name}" for alias in node.names)}
            assert module in LIGHT or not module.startswith(("runtimed.core", "runtimed.host")), (
                f"may not import {module}"
            )
            if heavy := names & {f"runtimed.cli.{name}" for name in FOR_ENGINES}:
                assert id(node) in late, f"import {heavy} where it is used"


def test_the_problem_codes_import_nothing_because_the_client_imports_them() -> None:
    found = [name for name, named_only in all_imports(HOUSE / "core/problem_codes.py") if not named_only]
    assert found == ["__future__"]
    assert list(imports(HOUSE / "core/__init__.py")) == []


def test_every_room_has_a_rule() -> None:
    assert {parts(path)[0] if parts(path) else "" for path in MODULES} == set(MAY)


def test_the_entry_module_ignores_hangups_before_it_imports_anything_else() -> None:
    body = ast.parse((HOUSE / "__main__.py").read_text()).body
    first, second, third = (ast.unparse(node) for node in body[:3])
    assert first.startswith(("'", '"'))
    assert second == "import signal"
    assert third == "signal.signal(signal.SIGHUP, signal.SIG_IGN)"


def test_the_package_imports_nothing_when_it_is_imported() -> None:
    assert list(imports(HOUSE / "__init__.py")) == []
