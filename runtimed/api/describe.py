"""What a name really is: its definition, where that stands, what it means, whether it can be used."""

from __future__ import annotations

from collections.abc import Callable

from runtimed.core.config import Origin, definition_document
from runtimed.core.errors import BinaryUnavailable
from runtimed.core.generation import Generation, Runtime
from runtimed.core.names import RUNC_NAME, shim_binary_name

# Returns the absolute path that a binary's name or path leads to, or raises BinaryUnavailable.
LookUp = Callable[[str], str]


def describe_table(generation: Generation, look_up: LookUp) -> dict[str, object]:
    """Return the whole table of ``generation``, one description for each runtime, sorted by name. Looks at the disk."""
    return {
        "generation": generation.number,
        "default_runtime": generation.config.default_runtime,
        "runtimes": [describe_runtime(generation, runtime, look_up) for runtime in generation.runtimes.values()],
    }


def describe_runtime(generation: Generation, runtime: Runtime, look_up: LookUp) -> dict[str, object]:
    """Return what is known of ``runtime`` in ``generation``; looks for its binary on the disk."""
    wrapper = runtime.wrapper
    root = generation.host.data_root
    return {
        "name": runtime.name,
        "source": runtime.source,
        "default": runtime.name == generation.config.default_runtime,
        "definition": None if runtime.definition is None else definition_document(runtime.definition),
        "origin": _origin(generation.config.origins.get(runtime.name)),
        "shim": runtime.shim,
        "options": None if runtime.options is None else runtime.options.readable(),
        "wrapper": None
        if wrapper is None
        else {
            "path": f"{root}/wrappers/{wrapper.file}",
            "stable_path": f"{root}/runtimes/{wrapper.link}",
            "text": wrapper.text.decode(),
        },
        **_availability(runtime, look_up),
        "generation": generation.number,
        "digest": runtime.answer.digest,
    }


def _origin(origin: Origin | None) -> dict[str, object] | None:
    if origin is None:
        return None
    return {"file": origin.file, "line": origin.line, "fields": dict(origin.fields)}


def _availability(runtime: Runtime, look_up: LookUp) -> dict[str, object]:
    """Return ``binary``, what is executed in the end, or the ``reason`` why it cannot be."""
    path = runtime.definition.path if runtime.definition is not None else None
    wanted = RUNC_NAME if runtime.source == "stock" else path or shim_binary_name(runtime.shim)
    try:
        return {"available": True, "binary": look_up(wanted), "reason": None}
    except BinaryUnavailable as error:
        return {"available": False, "binary": None, "reason": str(error)}
