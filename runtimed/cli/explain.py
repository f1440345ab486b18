"""What a name really is, as lines for people."""

from __future__ import annotations

from runtimed.cli.humanize import shown
from runtimed.cli.render import lacks_shim
from runtimed.cli.tables import render_fields
from runtimed.cli.terminal import PLAIN, RED, YELLOW, Terminal, Tinted

TYPE_CHECKING = False  # as in runtimed.client
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Document = Mapping[str, Any]
    Fields = Iterator[tuple[str, object]]

_SOURCES = {
    "configured": "configured",
    "stock": "stock: known on every node without configuration",
    "implicit": "implicit: nobody configured it, so containerd is given the name itself as that of a shim",
}


def render_description(runtime: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return all that is known of one runtime, from what was written down to what would be executed."""
    default = ", the default runtime" if runtime["default"] else ""
    fields: list[tuple[str, object]] = [
        ("runtime", f"{runtime['name']}{default}"),
        *_definition(runtime),
        *_shim(runtime),
        *_options(runtime["options"]),
        *_wrapper(runtime["wrapper"]),
        ("binary", _binary(runtime)),
        ("available", _available(runtime)),
        *_drift(runtime.get("drift")),
        *_features(runtime["features"]),
        *_lint(runtime["lint"]),
        ("generation", runtime["generation"]),
        ("digest", runtime["digest"]),
    ]
    return render_fields(fields, terminal)


def _definition(runtime: Document) -> Fields:
    origin = runtime["origin"]
    source = _SOURCES.get(runtime["source"], runtime["source"])
    if origin is None:
        yield "source", source
        return
    yield "source", f"{source} at {_place(origin['file'], origin['line'])}"
    for key, value in runtime["definition"].items():
        yield f"  {key}", f"{shown(value)}  ({_place(origin['file'], origin['fields'].get(key))})"


def _drift(drift: Document | None) -> Fields:
    if drift is not None:
        reason = f": {drift['reason']}" if drift["reason"] else ""
        yield "drift", Tinted(f"{drift['kind']} since the configuration was loaded{reason}", YELLOW)


def _place(file: str, line: int | None) -> str:
    return file if line is None else f"{file}:{line}"


def _shim(runtime: Document) -> Fields:
    yield "shim", runtime["shim"]
    binary = runtime["shim_binary"]
    if binary["path"] is None:
        yield "  binary", f"none: {binary['reason']}"
        return
    wanted = f"{binary['wanted']}: " if binary["wanted"] != binary["path"] else ""
    yield "  binary", f"{wanted}{binary['path']}, {binary['why']}"


def _options(options: Document | None) -> Fields:
    yield "options", "none: the shim's own defaults" if not options else ""
    for key, value in (options or {}).items():
        yield f"  {key}", shown(value)


def _wrapper(wrapper: Document | None) -> Fields:
    if wrapper is None:
        return
    yield "wrapper", wrapper["path"]
    yield "  stable path", wrapper["stable_path"]
    for index, line in enumerate(wrapper["text"].removesuffix("\n").split("\n")):
        yield "" if index else "  text", line


def _binary(runtime: Document) -> str:
    if _is_shim(runtime):
        return "the shim's: it needs no other"
    return "none" if runtime["binary"] is None else f"{runtime['binary']}, {runtime['binary_why']}"


def _available(runtime: Document) -> object:
    if runtime["available"]:
        # A daemon of an earlier version says nothing of it.
        if why := runtime.get("replaceable"):
            return Tinted(f"yes, but other users can replace it: {why}", YELLOW)
        if lacks_shim(runtime):
            shim = runtime["shim_binary"]["wanted"]
            return Tinted(f"yes, but containerd needs {shim}, which is not found (podman and CRI-O do not)", YELLOW)
        return "yes"
    # The line of the shim's binary has the PATH already, which tends to be long.
    return Tinted(f"no: {runtime['reason'].partition(' (')[0] if _is_shim(runtime) else runtime['reason']}", RED)


def _is_shim(runtime: Document) -> bool:
    shim = runtime["shim_binary"]
    return (runtime["binary"], runtime["reason"]) == (shim["path"], shim["reason"])


def _features(features: Document | None) -> Fields:
    if features is None:
        return
    if features["status"] != "known":
        version = f"{features['version']}; " if features["version"] else ""
        yield "features", f"{version}{features['status']}: {features['reason']}"
        return
    yield "features", "; ".join(_summary(features["features"])) or "none are told"


def _summary(said: Document) -> Iterator[str]:
    """Yield what there is to say in short; a binary says what it likes, so nothing is taken for granted."""
    versions = [str(said[key]) for key in ("ociVersionMin", "ociVersionMax") if key in said]
    if versions:
        yield f"OCI {' to '.join(versions)}"
    of_linux = said.get("linux")
    linux = of_linux if isinstance(of_linux, dict) else {}
    listed = [(said, "hooks"), (said, "mountOptions"), (linux, "namespaces"), (linux, "capabilities")]
    counts = [f"{key} {len(at[key])}" for at, key in listed if isinstance(at.get(key), list)]
    if counts:
        yield ", ".join(counts)
    cgroup = linux.get("cgroup")
    kinds = [str(kind) for kind, has in (cgroup if isinstance(cgroup, dict) else {}).items() if has is True]
    if kinds:
        yield f"cgroup {', '.join(kinds)}"
    enabled = [key for key in ("seccomp", "apparmor", "selinux") if _is_enabled(linux.get(key))]
    if enabled:
        yield ", ".join(enabled)


def _is_enabled(value: object) -> bool:
    return isinstance(value, dict) and value.get("enabled") is True


def _lint(lint: list[Document]) -> Fields:
    if not lint:
        yield "lint", "nothing to remark"
    for index, each in enumerate(lint):
        yield "" if index else "lint", Tinted(f"{each['code']}: {each['message']}", YELLOW)
