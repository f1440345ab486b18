"""Checks the entries of ``runtimes`` beyond their types. Beside each rule of others is its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runtimed.core.configuration.position import Spot
from runtimed.core.configuration.schema import Entry
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.errors import Problem
from runtimed.core.message_text import called, shown

# execve(2): a string has at most 32 pages with its NUL; all strings and pointers a quarter of the usual 8 MiB stack.
MAX_ARGUMENT_BYTES = 131_072 - 1
MAX_ARGUMENTS_BYTES = 2_097_152
# What the engine adds when it runs the runtime: its arguments (paths, ids) and the environment.
_RESERVED_BYTES = 131_072
_POINTER_BYTES = 8
# path_resolution(7): PATH_MAX with its NUL.
MAX_PATH_BYTES = 4096 - 1

# Field of the entry, or None for the entry itself -> its place.
Where = Callable[[str | None], Spot]


def entry_problems(entry: Entry, where: Where) -> Iterator[Problem]:
    """Yield what is wrong with a runtime as a whole; the phrases are dockerd's, because people search for them."""
    name = called(entry.name)
    if not entry.name:
        expected = "a name"
        yield where(None).problem("a runtime needs a name, found an empty one", '""', expected)
    if entry.name == RUNC_NAME:
        message = "runtime name 'runc' is reserved: it always means the runc of this node; choose another name"
        yield where(None).problem(message, '"runc"', "another name")
    if not entry.path and not entry.runtime_type:
        message = f"runtime {name}: either a runtimeType or a path must be configured"
        yield where(None).problem(message, "neither", "path or runtimeType")
    if entry.path and entry.runtime_type:
        message = f"runtime {name}: cannot configure both path and runtimeType for the same runtime"
        yield where("runtimeType").problem(message, "both", "path or runtimeType")
    if entry.path and entry.options:
        message = f"runtime {name}: options cannot be used with a path runtime; give runtimeArgs, or a runtimeType"
        yield where("options").problem(message, "options", "no options beside path")
    if entry.args and entry.runtime_type:
        message = f"runtime {name}: args cannot be used with a runtimeType runtime; give options, or a path"
        yield where("runtimeArgs").problem(message, "runtimeArgs", "no runtimeArgs beside runtimeType")
    yield from _exec_problems(entry, where)


def _exec_problems(entry: Entry, where: Where) -> Iterator[Problem]:
    """Yield what no exec could take."""
    name = called(entry.name)
    path_bytes = len(entry.path.encode())
    if path_bytes > MAX_PATH_BYTES:
        expected = f"at most {MAX_PATH_BYTES:,} bytes"
        message = f"runtime {name}: a path of {path_bytes:,} bytes cannot be executed, expected {expected}"
        yield where("path").problem(message, f"{path_bytes:,} bytes", expected)
    if entry.args and entry.path.startswith("-") and "/" not in entry.path:
        message = (
            f"runtime {name}: the path {shown(entry.path)} begins with a dash, and the shell that passes the "
            "arguments on would take it for an option; give the whole path"
        )
        yield where("path").problem(message, shown(entry.path), "a path that holds a slash or begins otherwise")
    sizes = [len(arg.encode()) for arg in entry.args]
    if sizes and max(sizes) > MAX_ARGUMENT_BYTES:
        expected = f"at most {MAX_ARGUMENT_BYTES:,} bytes in each"
        message = f"runtime {name}: an argument of {max(sizes):,} bytes cannot be executed, expected {expected}"
        yield where("runtimeArgs").problem(message, f"{max(sizes):,} bytes", expected)
    total = path_bytes + sum(sizes) + len(sizes) * (_POINTER_BYTES + 1)
    limit = MAX_ARGUMENTS_BYTES - _RESERVED_BYTES
    if total > limit:
        expected = f"at most {limit:,} bytes in all"
        message = f"runtime {name}: arguments of {total:,} bytes in all cannot be executed, expected {expected}"
        yield where("runtimeArgs").problem(message, f"{total:,} bytes", expected)
