"""Renders the description of one runtime as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtimed.cli.humanize import place, shown, with_detail
from runtimed.cli.proof_state import render_proof
from runtimed.cli.render import lacks_shim, render_drift
from runtimed.cli.tables import Document, Field, list_fields, render_fields
from runtimed.cli.terminal import PLAIN, RED, YELLOW, Terminal, Tinted

_SOURCES = {
    "configured": "configured",
    "stock": "stock: known on every node without configuration",
    "implicit": "implicit: not configured; containerd gets the name itself as the name of a shim",
}


def render_description(runtime: Document, terminal: Terminal = PLAIN, *, containers: Sequence[Field] = ()) -> list[str]:
    """Return everything that is known of one runtime, from its definition to the fields about its ``containers``."""
    default = ", the default runtime" if runtime["default"] else ""
    lint = [Tinted(f"{each['code']}: {each['message']}", YELLOW) for each in runtime["lint"]]
    fields: list[Field] = [
        ("runtime", f"{runtime['name']}{default}"),
        *_definition(runtime),
        ("shim", runtime["shim"]),
        ("  binary", _shim_binary(runtime["shim_binary"])),
        ("options", "" if runtime["options"] else "none: the shim's own defaults"),
        *((f"  {key}", shown(value)) for key, value in (runtime["options"] or {}).items()),
        *_wrapper(runtime["wrapper"]),
        *([] if runtime["stable_path"] is None else [("stable path", runtime["stable_path"])]),
        ("binary", _binary(runtime)),
        ("available", _available(runtime)),
        *_drift(runtime["drift"]),
        *_features(runtime["features"]),
        ("proof", render_proof(runtime["proof"])),
        *containers,
        *list_fields("lint", lint or ["no warnings"]),
        ("generation", runtime["generation"]),
        ("digest", runtime["digest"]),
    ]
    return render_fields(fields, terminal)


def _definition(runtime: Document) -> Iterator[Field]:
    origin = runtime["origin"]
    source = _SOURCES.get(runtime["source"], runtime["source"])
    if origin is None:
        yield "source", source
        return
    yield "source", f"{source} at {place(origin['file'], origin['line'])}"
    for key, value in runtime["definition"].items():
        yield f"  {key}", f"{shown(value)}  ({place(origin['file'], origin['fields'].get(key))})"


def _shim_binary(binary: Document) -> str:
    if binary["path"] is None:
        return f"none: {binary['reason']}"
    wanted = f"{binary['wanted']}: " if binary["wanted"] != binary["path"] else ""
    return f"{wanted}{binary['path']} ({binary['why']})"


def _wrapper(wrapper: Document | None) -> Iterator[Field]:
    if wrapper is not None:
        yield "wrapper", wrapper["path"]
        lines = wrapper["text"].removesuffix("\n").split("\n")
        yield from list_fields("  text", (Tinted(line, None, wraps=False) for line in lines))


def _binary(runtime: Document) -> str:
    if _is_shim(runtime):
        return "that of the shim"
    return "none" if runtime["binary"] is None else f"{runtime['binary']} ({runtime['binary_why']})"


def _available(runtime: Document) -> Tinted:
    if not runtime["available"]:
        # The line of the shim's binary shows the searched PATH already, which tends to be long.
        return Tinted(f"no: {runtime['reason'].partition(' (')[0] if _is_shim(runtime) else runtime['reason']}", RED)
    if why := runtime["replaceable"]:
        return Tinted(f"yes, but other users can replace it: {why}", YELLOW)
    if lacks_shim(runtime):
        shim = runtime["shim_binary"]["wanted"]
        return Tinted(f"yes, but containerd needs {shim}, which is not found (podman and CRI-O do not)", YELLOW)
    return Tinted("yes", None)


def _is_shim(runtime: Document) -> bool:
    shim = runtime["shim_binary"]
    return (runtime["binary"], runtime["reason"]) == (shim["path"], shim["reason"])


def _drift(drift: Document | None) -> Iterator[Field]:
    if drift is not None:
        yield "drift", Tinted(render_drift(drift), YELLOW)


def _features(features: Document | None) -> Iterator[Field]:
    if features is None:
        return
    if features["status"] != "known":
        version = f"{features['version']}; " if features["version"] else ""
        yield "features", f"{version}{with_detail(features['status'], features['reason'])}"
        return
    yield "features", "; ".join(_summary(features["features"])) or "none reported"


def _summary(features: Document) -> Iterator[str]:
    """Yield a summary of what a binary reports, which may have any shape."""
    versions = [str(features[key]) for key in ("ociVersionMin", "ociVersionMax") if key in features]
    if versions:
        yield f"OCI {' to '.join(versions)}"
    linux = _object(features.get("linux"))
    lists = [(features, "hooks"), (features, "mountOptions"), (linux, "namespaces"), (linux, "capabilities")]
    counts = [f"{key} {len(where[key])}" for where, key in lists if isinstance(where.get(key), list)]
    if counts:
        yield ", ".join(counts)
    if kinds := [str(kind) for kind, has in _object(linux.get("cgroup")).items() if has is True]:
        yield f"cgroup {', '.join(kinds)}"
    modules = ("seccomp", "apparmor", "selinux")
    if enabled := [key for key in modules if _object(linux.get(key)).get("enabled") is True]:
        yield ", ".join(enabled)


def _object(value: object) -> Document:
    return value if isinstance(value, dict) else {}
