"""The shapes of what is answered about runtimes and generations: JSON objects, as types.

The functions that make these values are typed with them, so that code and shapes agree, and `/openapi.json` is
generated from them: a shape's docstring and the text in each ``Annotated`` are what is read there. Of the keys that
stand here more may come and none is renamed. What the daemon says of itself has its shapes in ``core.news``, what goes
wrong in ``core.refusals``.

Nothing but the standard library's ``typing`` is imported here: a client can use these types as they are.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict, final

Provenance = Literal["configured", "stock", "implicit"]
DriftKind = Literal["replaced", "removed", "unusable", "installed"]

Number = Annotated[int, "number of a generation; numbers only grow"]
Digest = Annotated[str, "`sha256:` and 64 hexadecimal digits"]


class Base64(TypedDict):
    """Bytes that are no text."""

    base64: str


OptionFields = Annotated[
    dict[str, bool | int | str | Base64], "the options by the names that their protobuf fields have, those that are set"
]


class Options(TypedDict):
    """The options message that containerd hands to the shim, readable and ready for `google.protobuf.Any`."""

    type_url: Annotated[str, "name of the message, bare, as `Any.type_url` takes it"]
    value: Annotated[str, "the encoded message in base64, for `Any.value`"]
    fields: OptionFields


class Meaning(TypedDict):
    """What a runtime's name means, whatever the generation."""

    runtime: Annotated[str, "the name that was asked for, or that of the default runtime"]
    source: Annotated[
        Provenance, "an entry of the configuration, the built-in table, or the name itself, which is that of a shim"
    ]
    shim: Annotated[str, "what containerd is given as the container's runtime"]
    options: Annotated[Options | None, "null where the shim is to get no options at all"]


class Resolution(Meaning):
    """What a runtime's name means in one generation: all that it takes to start a container with it."""

    generation: Number
    digest: Annotated[str, "of the answer without its generation: changes only when the answer does"]


# What tells the two apart is which keys they have.
@final
class PathDefinition(TypedDict):
    """An entry of `runtimes` that names an OCI runtime's binary."""

    path: str
    runtimeArgs: NotRequired[list[str]]


@final
class ShimDefinition(TypedDict):
    """An entry of `runtimes` that names a shim."""

    runtimeType: str
    options: NotRequired[OptionFields]


# An entry of `runtimes` as daemon.json has it.
Definition = PathDefinition | ShimDefinition


class Origin(TypedDict):
    """Where a runtime's entry stands."""

    file: Annotated[str, "a file, or the flag that it was given with"]
    line: Annotated[int | None, "counted from 1; null for a flag"]
    fields: Annotated[dict[str, int], "the line of each field of the entry"]


class Wrapper(TypedDict):
    """The script that stands in for a binary which is to get arguments."""

    path: Annotated[str, "named by its content, and never changed: what answers name"]
    stable_path: Annotated[str, "always leads to the current generation's wrapper of this runtime"]
    text: str


class Binary(TypedDict):
    """What a binary's name or path leads to."""

    wanted: str | None
    path: Annotated[str | None, "absolute; null where it cannot be executed"]
    why: Annotated[str | None, "why it is this file"]
    reason: Annotated[str | None, "why it cannot be executed"]


class Drift(TypedDict):
    """What has become of a binary since the configuration was loaded."""

    binary: Annotated[str, "a path or a name, as configured"]
    kind: DriftKind
    path: Annotated[str | None, "where it is now"]
    reason: str | None


class RuntimesDrift(Drift):
    """What has become of a binary, and of which runtimes it is the binary."""

    runtimes: list[str]


class UnavailableRuntime(TypedDict):
    """A configured runtime that cannot be used."""

    runtime: str
    path: Annotated[str, "the file that its answer names and that cannot be executed; a bare name is one of PATH"]
    reason: str


class Features(TypedDict):
    """What a binary says of itself."""

    status: Annotated[Literal["known", "unknown", "pending"], "pending: it is being asked; ask again"]
    features: Annotated[dict[str, object] | None, "the Features structure of the OCI runtime specification"]
    version: Annotated[str | None, "the first line that it prints when asked for its version, where it has no features"]
    reason: Annotated[str | None, "why its features are not known"]


class Lint(TypedDict):
    """Something about a runtime that is allowed and most likely not meant."""

    code: Annotated[str, "stable, for programs"]
    message: str


class RuntimeDescription(TypedDict):
    """All that is known of one runtime."""

    name: str
    source: Provenance
    default: Annotated[bool, "whether it is the default runtime"]
    definition: Annotated[Definition | None, "null where nobody configured it"]
    origin: Origin | None
    shim: str
    options: OptionFields | None
    wrapper: Annotated[Wrapper | None, "null for a runtime without arguments"]
    available: Annotated[
        bool, "whether every file that the answer names can be executed: the binary, the wrapper, a configured shim"
    ]
    binary: Annotated[str | None, "what is executed in the end: the OCI runtime, or the shim where it is one itself"]
    binary_why: Annotated[str | None, "why it is this file"]
    reason: Annotated[str | None, "why it is not available"]
    replaceable: Annotated[str | None, "why other users could replace the binary, null where they could not"]
    drift: Drift | None
    shim_binary: Binary
    features: Annotated[Features | None, "null for a shim that needs no other binary, which is never run to be asked"]
    lint: list[Lint]
    generation: Number
    digest: Digest


class TableHead(TypedDict):
    """What a table says besides its rows."""

    generation: Number
    default_runtime: str


class RuntimeTable(TableHead):
    """The whole table of one generation, sorted by name."""

    runtimes: list[RuntimeDescription]


_Renamed = TypedDict("_Renamed", {"from": str, "to": str})


class DefaultChange(_Renamed):
    """The default runtime before and after."""


class GenerationSummary(TypedDict):
    """A retained generation in one line."""

    generation: Number
    created: Annotated[float, "seconds since the epoch"]
    digest: Digest
    default_runtime: str
    runtime_count: int


class Generations(TypedDict):
    """The retained generations, the newest, which is the current one, first."""

    generations: list[GenerationSummary]


class GenerationDetail(GenerationSummary):
    """A retained generation: what it was built from, and every answer that was given in it."""

    configuration: Annotated[str, "path of the main file"]
    sources: Annotated[list[str], "the files that it came from"]
    config: Annotated[dict[str, object], "the merged configuration, a daemon.json document"]
    runtimes: Annotated[dict[str, Resolution], "the answers by name"]


_BothDefinitions = TypedDict("_BothDefinitions", {"from": Definition | None, "to": Definition | None})


class RuntimeChange(_BothDefinitions):
    """A runtime's entry in two generations; null where it had none."""

    name: str


_BothNumbers = TypedDict("_BothNumbers", {"from": int, "to": int})


class GenerationsDiff(_BothNumbers):
    """What a client finds different in one generation from another: runtimes whose answers differ."""

    added: list[RuntimeChange]
    changed: list[RuntimeChange]
    removed: list[RuntimeChange]
    default_runtime: Annotated[DefaultChange | None, "null where it is the same"]
