"""Properties of all engines that are read and written: an export and an import lose nothing without a remark."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import tomli_w
from harness.engine_tables import DATA, EveryBinary, node_generation, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimed.core.configuration.inputs import Source
from runtimed.core.containerd.names import shim_binary_name
from runtimed.core.containerd.options import MESSAGES, message_of
from runtimed.core.engines import NAMES, load_engine
from runtimed.core.engines.engine import Document, Engine, ExportOptions, Original
from runtimed.core.engines.translation import Translation
from runtimed.core.errors import Problem
from runtimed.core.table.generation import Generation

ENGINES = [name for name in NAMES if load_engine(name).read is not None]
RUNC = "io.containerd.runc.v2"
KATA = "io.containerd.kata.v2"


def read(engine: Engine, text: str) -> Translation:
    assert engine.read is not None
    return engine.read(Original(Source("f", text.encode()), is_file=lambda _: True))


def exported(engine: Engine, generation: Generation, options: ExportOptions | None = None) -> tuple[Translation, str]:
    translation = engine.write(table_of(generation), options or ExportOptions())
    return translation, engine.render(translation.document)


# --- the table


def meaning(generation: Generation, name: str) -> tuple[str, Mapping[str, object]]:
    """Return the binary of the shim and the options that are set, with the stable path as in exports."""
    runtime = generation.runtimes[name]
    options: dict[str, object] = {k: v for k, v in (runtime.options.fields if runtime.options else ()) if v}
    if runtime.launcher is not None and not str(options["binary_name"]).startswith(f"{DATA}/runtimes/"):
        options["binary_name"] = f"{DATA}/runtimes/{runtime.launcher.link}"
    if "config_body" in options:
        options["config_body"] = parsed(options["config_body"])
    shim = shim_binary_name(runtime.shim) or runtime.shim
    return EveryBinary().look_up(shim), options


def carried(generation: Generation, name: str, engine: str) -> object:
    """Return the keys that a runtime carries for ``engine``."""
    definition: Mapping[str, Any] = generation.definition(name) or {}
    return definition.get("engines", {}).get(engine)


def parsed(body: Any) -> object:
    """Return a shim's options as a value, because another text may have the same meaning."""
    try:
        return tomllib.loads(body if isinstance(body, str) else body.decode())
    except ValueError:
        return body


def keys_of(remark: Problem) -> list[str]:
    """Return the keys that lead to the place of ``remark``: a JSON pointer, or a dotted key of TOML."""
    pointer = remark.pointer or ""
    if pointer.startswith("/"):
        return [key.replace("~1", "/").replace("~0", "~") for key in pointer[1:].split("/")]
    keys = []
    # Only JSON, whose quotation marks the place has, takes a DEL as it is.
    value: object = tomllib.loads(f"{pointer}=0".replace("\x7f", "\\u007f")) if pointer else None
    while isinstance(value, dict):
        ((key, value),) = value.items()
        keys.append(key)
    return keys


def named(remarks: Iterable[Problem], name: str, words: str = "") -> bool:
    """Return whether one of ``remarks``, with these words, is on the runtime ``name`` or on something in it."""
    return any(name in keys_of(each) and words in each.message for each in remarks)


def usual_messages(engine: Engine) -> set[str]:
    """Return the messages on a runtime without options, such as that old versions cannot run it: they name no loss."""
    plain = node_generation({"runtimes": {"a": {"runtimeType": KATA}, "b": {"path": "/b"}}})
    messages = {remark.message for remark in engine.write(table_of(plain), ExportOptions()).remarks}
    return {message for message in messages if "left out" not in message}


# Anything that a name or an argument may be.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
RUNTIME_NAMES = (TEXT | st.sampled_from([RUNC, "..", "a/b", "/a", "crun", "a.b", "podman"])).filter(
    lambda name: name != "runc"
)
VALUES: Mapping[str, st.SearchStrategy[object]] = {
    "bool": st.booleans(),
    "string": TEXT,
    "uint32": st.integers(0, 2**32 - 1),
    "bytes": TEXT | st.sampled_from(['a = 1\n[b]\nc = "x"\n', "# nothing"]),
}


def options_of(runtime_type: str) -> st.SearchStrategy[dict[str, object]]:
    fields = MESSAGES[message_of(runtime_type)]
    return st.fixed_dictionaries({}, optional={field.go_name: VALUES[field.kind] for field in fields})


SHIMS = st.sampled_from([RUNC, "io.containerd.runc.v1", KATA, "/opt/shim"]) | TEXT.filter(
    lambda shim: shim not in ("io.containerd.runhcs.v1", "io.containerd.runtime.v1.linux")
)
ENTRIES: st.SearchStrategy[Any] = SHIMS.flatmap(
    lambda shim: st.fixed_dictionaries({"runtimeType": st.just(shim)}, optional={"options": options_of(shim)})
) | st.fixed_dictionaries(
    {"path": TEXT.map(lambda path: f"/{path}")}, optional={"runtimeArgs": st.lists(TEXT, max_size=3)}
)
# Values of keys that TOML and JSON have and that are no default of an engine.
CARRIED_VALUES: st.SearchStrategy[object] = st.recursive(
    st.just(True) | st.integers(1, 2**63 - 1) | st.floats(0.5, 1e9) | TEXT,
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(TEXT, inner, min_size=1, max_size=2),
    max_leaves=4,
)
# Keys that containerd or CRI-O know in a runtime, and unknown ones.
KEYS = st.sampled_from(
    ["pod_annotations", "snapshotter", "privileged_without_host_devices", "base_runtime_spec", "monitor_env"]
) | TEXT.map(lambda text: f"x-{text}")
CARRIED = st.dictionaries(KEYS, CARRIED_VALUES, max_size=3)


@st.composite
def documents(draw: st.DrawFn, engine: str) -> dict[str, Any]:
    """Draw a configuration whose runtimes may carry keys for ``engine``."""
    runtimes = draw(st.dictionaries(RUNTIME_NAMES, ENTRIES, max_size=4))
    for entry in runtimes.values():
        entry["engines"] = {engine: draw(CARRIED)}
    default = draw(st.sampled_from(["runc", RUNC, KATA, *runtimes]))
    return {"runtimes": runtimes, "default-runtime": default}


OPTIONS = st.builds(ExportOptions, config_version=st.sampled_from([None, 2, 3]))
# The last key of the place of a default runtime, in the words of any engine.
DEFAULT_KEYS = {"default-runtime", "default_runtime_name", "default_runtime", "runtime"}


@pytest.mark.parametrize("name", ENGINES)
@settings(deadline=None)
@given(st.data(), st.booleans(), OPTIONS)
def test_a_table_comes_back_from_its_export_except_where_a_remark_names_a_runtime(
    name: str, data: st.DataObject, unified: bool, options: ExportOptions
) -> None:
    engine = load_engine(name)
    document = data.draw(documents(name))
    generation = node_generation(document, unified=unified)
    export, text = exported(engine, generation, options)
    imported = read(engine, text)
    # Where the file has the cgroup driver, that of the node does not matter.
    back = node_generation(imported.document, unified=unified != ("exec-opts" in imported.document))
    remarks = (*export.remarks, *imported.remarks)
    for runtime in (*document["runtimes"], "runc"):
        if runtime not in back.runtimes or carried(back, runtime, name) != carried(generation, runtime, name):
            assert named(remarks, runtime, "left out"), runtime
        elif meaning(back, runtime) != meaning(generation, runtime):
            assert named((each for each in remarks if each.message not in usual_messages(engine)), runtime), runtime
    if back.config.default_runtime != document["default-runtime"]:
        assert any(DEFAULT_KEYS & set(keys_of(remark)[-1:]) for remark in remarks)
    assert back.config.runtimes.keys() <= {*document["runtimes"], document["default-runtime"]}


@pytest.mark.parametrize("name", ENGINES)
@settings(deadline=None)
@given(st.data(), OPTIONS)
def test_an_export_of_an_import_of_an_export_is_the_same_file(
    name: str, data: st.DataObject, options: ExportOptions
) -> None:
    engine = load_engine(name)
    _, first = exported(engine, node_generation(data.draw(documents(name))), options)
    _, second = exported(engine, node_generation(read(engine, first).document), options)
    # The first one may have lost something, which an engine then has by default.
    _, third = exported(engine, node_generation(read(engine, second).document), options)
    assert third == second


@pytest.mark.parametrize("name", ENGINES)
def test_an_import_of_an_export_leaves_out_the_runtimes_that_the_table_has_already(name: str) -> None:
    engine = load_engine(name)
    document = {"runtimes": {"a/b": {"path": "/usr/bin/crun"}}, "default-runtime": "a/b"}
    export, text = exported(engine, node_generation(document, data_root="/var/lib/runtimed"))
    imported = read(engine, text)
    assert not {"runtimes", "default-runtime"} & {key for key, value in imported.document.items() if value}
    assert not named(export.remarks, "a/b", "left out")
    assert named(imported.remarks, "a/b", "its binary is a stable path of runtimed, which has the runtime already")
    assert any("left out with the runtime that it names" in remark.message for remark in imported.remarks)


# --- an engine's own file


def daemon_json(runtimes: Mapping[str, tuple[str, Document]]) -> str:
    return json.dumps({"runtimes": {name: {**keys, "path": path} for name, (path, keys) in runtimes.items()}})


def containerd_toml(runtimes: Mapping[str, tuple[str, Document]]) -> str:
    table = {
        name: {**keys, "runtime_type": RUNC, "options": {"BinaryName": path}} for name, (path, keys) in runtimes.items()
    }
    return tomli_w.dumps(
        {"version": 3, "plugins": {"io.containerd.cri.v1.runtime": {"containerd": {"runtimes": table}}}}
    )


def crio_conf(runtimes: Mapping[str, tuple[str, Document]]) -> str:
    table = {name: {**keys, "runtime_path": path} for name, (path, keys) in runtimes.items()}
    return tomli_w.dumps({"crio": {"runtime": {"runtimes": table}}})


# Engine -> makes its file of names, paths and further keys; None where an entry has no keys.
FILES: Mapping[str, Callable[[Mapping[str, tuple[str, Document]]], str] | None] = {
    "docker": daemon_json,
    "containerd": containerd_toml,
    "crio": crio_conf,
    "podman": None,
}
PATHS = TEXT.map(lambda text: f"/{text}")


def entry_in(document: object, name: str) -> Mapping[str, object] | None:
    """Return the entry of the runtime ``name`` in the file of any engine."""
    if not isinstance(document, Mapping):
        return None
    runtimes = document.get("runtimes")
    if isinstance(runtimes, Mapping):
        return runtimes.get(name)
    return next((found for value in document.values() if (found := entry_in(value, name)) is not None), None)


@pytest.mark.parametrize("name", ENGINES)
@settings(deadline=None)
@given(st.dictionaries(RUNTIME_NAMES, st.tuples(PATHS, CARRIED), max_size=3))
def test_an_export_of_an_import_of_a_file_has_every_key_of_its_runtimes_but_those_in_remarks(
    name: str, runtimes: Mapping[str, tuple[str, Document]]
) -> None:
    engine, make = load_engine(name), FILES[name]
    if make is None:
        return
    imported = read(engine, make(runtimes))
    export, _ = exported(engine, node_generation(imported.document))
    for runtime, (_, keys) in runtimes.items():
        remarks = [each for each in (*imported.remarks, *export.remarks) if runtime in keys_of(each)]
        entry = entry_in(export.document, runtime)
        if entry is None:
            assert named(remarks, runtime, "left out"), runtime
            continue
        for key, value in keys.items():
            assert entry.get(key) == value or named(remarks, key), key
