"""Checks daemon.json's values beyond their types. Beside each rule that is not ours is its source.

Every function takes a place (:class:`Spot`) or a function that finds one, so that the same rules judge a document
and the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from runtimed.core.configuration.position import Spot
from runtimed.core.configuration.schema import Entry
from runtimed.core.containerd.names import RUNC_NAME
from runtimed.core.errors import Problem
from runtimed.core.message_text import called, shown

# execve(2): a string takes at most 32 pages with its NUL; all strings and pointers a quarter of the usual 8 MiB stack.
MAX_ARGUMENT_BYTES = 131_072 - 1
MAX_ARGUMENTS_BYTES = 2_097_152
# What the engine adds when it runs the runtime: its own arguments (paths, ids) and the environment.
_RESERVED_BYTES = 131_072
_POINTER_BYTES = 8
# path_resolution(7): PATH_MAX with its NUL.
MAX_PATH_BYTES = 4096 - 1
# unix(7): sun_path holds 108 bytes with its NUL.
MAX_SOCKET_PATH_BYTES = 108 - 1

_DRIVER_KEY = "native.cgroupdriver"
_DRIVERS = ("systemd", "cgroupfs")

# logrus' ParseLevel, which dockerd uses, and the level that comes nearest here.
_LEVELS: Mapping[str, str] = MappingProxyType(
    {
        "trace": "debug",
        "debug": "debug",
        "info": "info",
        "warn": "warn",
        "warning": "warn",
        "error": "error",
        "fatal": "fatal",
        "panic": "fatal",
    }
)
_FORMATS = ("text", "json", "auto")

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


def cgroup_driver(options: Sequence[tuple[str, Spot]]) -> tuple[str | None, list[Problem]]:
    """Return the cgroup driver that ``exec-opts`` names, None where it does not, and what is wrong with the options.

    dockerd's rules: key=value, both trimmed, the key without regard to case, the value exact; the last one wins.
    """
    driver: str | None = None
    problems: list[Problem] = []
    for option, spot in options:
        key, equals, value = option.partition("=")
        key, value = key.strip().casefold(), value.strip()
        if not equals or not key:
            message = f"exec-opt {shown(option)} is not of the form key=value"
            problems.append(spot.problem(message, shown(option), f"{_DRIVER_KEY}=systemd or {_DRIVER_KEY}=cgroupfs"))
        elif key != _DRIVER_KEY:
            why = "is only supported on Windows" if key == "isolation" else "is unknown"
            problems.append(spot.problem(f"exec-opt {shown(key)} {why}", shown(option), _DRIVER_KEY))
        elif value not in _DRIVERS:
            expected = f"{_DRIVER_KEY}=systemd or {_DRIVER_KEY}=cgroupfs"
            message = f"found cgroup driver {shown(value)}, expected systemd or cgroupfs"
            problems.append(spot.problem(message, shown(value), expected))
        else:
            driver = value
    return driver, problems


def host_problem(host: str, spot: Spot) -> Problem | None:
    """Return what is wrong with one of ``hosts``: only Unix sockets and those that systemd passes are served."""
    expected = "unix:// and an absolute path, as in unix:///run/runtimed/runtimed.sock, or fd://"
    scheme, separator, rest = host.partition("://")
    if not separator:
        return spot.problem(f"found {shown(host)}, expected {expected}", shown(host), expected)
    if scheme == "fd":
        return None
    if scheme != "unix":
        message = (
            f"found {shown(host)}, but runtimed answers on Unix sockets only: whoever reaches the socket learns the "
            f"table, and who may reload is decided by the user id at its other end; use {expected}"
        )
        return spot.problem(message, shown(host), expected)
    if not rest.startswith("/") or rest.endswith("/"):
        return spot.problem(f"found {shown(host)}, expected {expected}", shown(host), expected)
    if (size := len(rest.encode())) > MAX_SOCKET_PATH_BYTES:
        expected = f"at most {MAX_SOCKET_PATH_BYTES} bytes"
        return spot.problem(f"found a socket path of {size} bytes, expected {expected}", f"{size} bytes", expected)
    return None


def root_problem(key: str, path: str, spot: Spot) -> Problem | None:
    """Return what is wrong with a directory of the daemon's own."""
    if path.startswith("/"):
        return None
    message = f"{key}: found {shown(path)}, expected an absolute path"
    return spot.problem(message, shown(path), "an absolute path")


def log_level(level: str, spot: Spot) -> str | Problem:
    """Return the level of Settings that ``level`` means, without regard to case as in dockerd, or what is wrong."""
    known = _LEVELS.get(level.casefold())
    expected = f"one of {', '.join(_LEVELS)}"
    return known or spot.problem(f"log-level: found {shown(level)}, expected {expected}", shown(level), expected)


def log_format(log_format: str, spot: Spot) -> str | Problem:
    """Return ``log_format``, or what is wrong with it."""
    if log_format in _FORMATS:
        return log_format
    expected = f"one of {', '.join(_FORMATS)}"
    return spot.problem(f"log-format: found {shown(log_format)}, expected {expected}", shown(log_format), expected)
