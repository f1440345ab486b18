"""Defines the shapes of runtimes and generations."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict, final

from runtimed.core.shapes.triggers import Trigger

Provenance = Literal["configured", "stock", "implicit"]
DriftKind = Literal["replaced", "removed", "unusable", "installed"]
ProofState = Literal["proved", "not-proved", "outdated"]
ProofOutcome = Literal["passed", "failed"]
ProofEngine = Literal["direct", "containerd"]

Number = Annotated[int, "number of a generation; numbers only grow"]
Digest = Annotated[str, "`sha256:` and 64 hexadecimal digits"]


class Base64(TypedDict):
    """Bytes that are not text."""

    base64: str


OptionFields = Annotated[
    dict[str, bool | int | str | Base64], "the options that are set, by the names of their protobuf fields"
]


class Options(TypedDict):
    """The options message that containerd passes to the shim, readable and ready for `google.protobuf.Any`."""

    type_url: Annotated[str, "name of the message, without a prefix, as `Any.type_url` takes it"]
    value: Annotated[str, "the encoded message in base64, for `Any.value`"]
    fields: OptionFields


class ResolutionBody(TypedDict):
    """The resolution of a runtime's name without its generation."""

    runtime: Annotated[str, "the requested name, or the name of the default runtime"]
    source: Annotated[
        Provenance, "an entry of the configuration, the built-in table, or the name itself as the name of a shim"
    ]
    shim: Annotated[str, "the runtime of the container for containerd"]
    options: Annotated[Options | None, "null where containerd passes no options to the shim"]


class Resolution(ResolutionBody):
    """The resolution of a runtime's name in one generation: everything needed to start a container with it."""

    generation: Number
    digest: Annotated[str, "of the resolution without its generation; it changes only when the resolution does"]


CarriedKeys = Annotated[
    dict[str, dict[str, object]],
    "keys of the runtime that only one engine knows, by the engine's name; exports to that engine have them, "
    "resolutions never",
]


# Final: a type checker tells the two apart by their keys.
@final
class PathDefinition(TypedDict):
    """An entry of `runtimes` that names the binary of an OCI runtime."""

    path: str
    runtimeArgs: NotRequired[list[str]]
    engines: NotRequired[CarriedKeys]


@final
class ShimDefinition(TypedDict):
    """An entry of `runtimes` that names a shim."""

    runtimeType: str
    options: NotRequired[OptionFields]
    engines: NotRequired[CarriedKeys]


# An entry of `runtimes` in daemon.json.
Definition = PathDefinition | ShimDefinition


class Origin(TypedDict):
    """The place of a runtime's entry."""

    file: Annotated[str, "a file, or the flag that defines it"]
    line: Annotated[int | None, "counted from 1; null for a flag"]
    fields: Annotated[dict[str, int], "the line of each field of the entry"]


class Wrapper(TypedDict):
    """The script that executes a binary with additional arguments."""

    path: Annotated[str, "derived from the content, which never changes; resolutions name this path"]
    stable_path: Annotated[str, "the `stable_path` of the runtime"]
    text: str


class Binary(TypedDict):
    """The file to which the name or the path of a binary leads."""

    wanted: str | None
    path: Annotated[str | None, "absolute; null where it cannot be executed"]
    why: Annotated[str | None, "why it is this file"]
    reason: Annotated[str | None, "why it cannot be executed"]


class Drift(TypedDict):
    """The change of a binary since the configuration was loaded."""

    binary: Annotated[str, "a path or a name, as configured"]
    kind: DriftKind
    path: Annotated[str | None, "its path now"]
    reason: str | None


class UnavailableRuntime(TypedDict):
    """A configured runtime that cannot be used."""

    runtime: str
    path: Annotated[str, "the file in its resolution that cannot be executed; a bare name is looked up on PATH"]
    reason: str


class Features(TypedDict):
    """The features that a binary reports."""

    status: Annotated[Literal["known", "unknown", "pending"], "pending: the probe is running; request it again"]
    features: Annotated[dict[str, object] | None, "the Features structure of the OCI runtime specification"]
    version: Annotated[str | None, "the first line of its `--version`, if it reports no features"]
    reason: Annotated[str | None, "why its features are not known"]


class Lint(TypedDict):
    """A legal setting of a runtime that probably does something else than intended."""

    code: Annotated[str, "stable, for programs"]
    message: str


class ProofBody(TypedDict):
    """The proof of a runtime without its time; null without a test."""

    state: Annotated[
        ProofState,
        "proved: the last test passed, with the resolution and the binaries of now; outdated: it passed, and the "
        "resolution or a binary changed since; not-proved: it failed, or there was none",
    ]
    generation: Annotated[int | None, "the generation that was current when the test was recorded"]
    engine: Annotated[ProofEngine | None, "how the container of the test was started"]
    outcome: ProofOutcome | None
    detail: Annotated[str | None, "the reason for the state, or a summary of the test"]


class Proof(ProofBody):
    """The proof of a runtime: the kept record of its last test. null without a test."""

    time: Annotated[float | None, "when the test was recorded, in seconds since the epoch"]


class RecordedProof(Proof):
    """The proof that was recorded."""

    runtime: str


class ProofData(ProofBody):
    """The proof of a runtime."""

    runtime: str


class RuntimeDescription(TypedDict):
    """Everything that is known of one runtime."""

    name: str
    source: Provenance
    default: Annotated[bool, "whether it is the default runtime"]
    definition: Annotated[Definition | None, "null for a runtime that is not configured"]
    origin: Origin | None
    shim: str
    options: OptionFields | None
    stable_path: Annotated[
        str | None,
        "for the configuration of an engine: leads to a launcher, which executes the current definition, and for a "
        "container with a pin the definition of its creation; null for a runtime without a `path`",
    ]
    wrapper: Annotated[Wrapper | None, "null for a runtime without arguments"]
    available: Annotated[
        bool, "whether every file in the resolution can be executed: the binary, the wrapper, a configured shim"
    ]
    binary: Annotated[str | None, "the executed file: the OCI runtime, or the shim if it needs no OCI runtime"]
    binary_why: Annotated[str | None, "why it is this file"]
    reason: Annotated[str | None, "why it is not available"]
    replaceable: Annotated[str | None, "why other users could replace the binary; null if they could not"]
    drift: Drift | None
    shim_binary: Binary
    features: Annotated[Features | None, "null for a shim that needs no OCI runtime: it is never probed"]
    lint: list[Lint]
    identity: Annotated[
        str | None,
        "`sha256:` and 64 hexadecimal digits: of the paths, inodes, sizes and times of the binaries that the runtime "
        "needs; null in a table until they were looked at",
    ]
    proof: Proof
    generation: Number
    digest: Digest


class RuntimeTable(TypedDict):
    """The table of one generation, sorted by name."""

    generation: Number
    default_runtime: str
    runtimes: list[RuntimeDescription]


_Renamed = TypedDict("_Renamed", {"from": str, "to": str})


class DefaultChange(_Renamed):
    """The default runtime before and after."""


class Changes(TypedDict):
    """The changes from the generation before to another one."""

    added: Annotated[list[str], "names of runtimes, the first fifty"]
    added_count: int
    changed: Annotated[list[str], "names of runtimes, the first fifty"]
    changed_count: int
    removed: Annotated[list[str], "names of runtimes, the first fifty"]
    removed_count: int
    default_runtime: Annotated[DefaultChange | None, "null where it did not change"]


class GenerationSummary(TypedDict):
    """A retained generation in short."""

    generation: Number
    created: Annotated[float, "seconds since the epoch"]
    digest: Digest
    default_runtime: str
    runtime_count: int
    trigger: Annotated[Trigger | None, "null if a version of the daemon that kept no trigger made the generation"]
    changes: Annotated[Changes | None, "null in the same case"]


class Generations(TypedDict):
    """The retained generations, newest first; the first is the current one."""

    generations: list[GenerationSummary]


class GenerationDetail(GenerationSummary):
    """A retained generation: its configuration and all its resolutions."""

    configuration: Annotated[str, "path of the main file"]
    sources: Annotated[list[str], "the files that it was built from"]
    config: Annotated[dict[str, object], "the merged configuration, a daemon.json document"]
    runtimes: Annotated[dict[str, Resolution], "the resolutions by name"]


_BothDefinitions = TypedDict("_BothDefinitions", {"from": Definition | None, "to": Definition | None})


class RuntimeChange(_BothDefinitions):
    """A runtime's entry in two generations; null where it had none."""

    name: str


_BothNumbers = TypedDict("_BothNumbers", {"from": int, "to": int})


class GenerationsDiff(_BothNumbers):
    """The runtimes whose resolutions or carried keys (`engines`) differ between two generations."""

    added: list[RuntimeChange]
    changed: list[RuntimeChange]
    removed: list[RuntimeChange]
    default_runtime: Annotated[DefaultChange | None, "null where it is the same"]
