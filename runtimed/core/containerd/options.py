"""Typed shim options: the fields of each options message, how they are written, how they are encoded.

The field tables follow containerd's ``api/types/runc/options/oci.proto`` and
``api/types/runtimeoptions/v1/api.proto``; the names an administrator may use in daemon.json are the
Go names dockerd takes (``BinaryName``) and the protobuf names (``binary_name``), without regard to case.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from runtimed.core.containerd.protobuf import message_classes, parse_message
from runtimed.core.errors import RuntimedError
from runtimed.core.message_text import nearest, shown

if TYPE_CHECKING:
    from runtimed.core import shapes

Kind = Literal["bool", "string", "uint32", "bytes"]
Value = bool | str | int | bytes

RUNC = "containerd.runc.v1.Options"
GENERIC = "runtimeoptions.v1.Options"
RUNC_SHIMS = ("io.containerd.runc.v2", "io.containerd.runc.v1")
RUNHCS_SHIM = "io.containerd.runhcs.v1"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an options message: protobuf number and name, Go name, kind."""

    number: int
    name: str
    go_name: str
    kind: Kind


MESSAGES: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {
        RUNC: (
            Field(1, "no_pivot_root", "NoPivotRoot", "bool"),
            Field(2, "no_new_keyring", "NoNewKeyring", "bool"),
            Field(3, "shim_cgroup", "ShimCgroup", "string"),
            Field(4, "io_uid", "IoUid", "uint32"),
            Field(5, "io_gid", "IoGid", "uint32"),
            Field(6, "binary_name", "BinaryName", "string"),
            Field(7, "root", "Root", "string"),
            Field(8, "criu_path", "CriuPath", "string"),
            Field(9, "systemd_cgroup", "SystemdCgroup", "bool"),
            Field(10, "criu_image_path", "CriuImagePath", "string"),
            Field(11, "criu_work_path", "CriuWorkPath", "string"),
            Field(12, "task_api_address", "TaskApiAddress", "string"),
            Field(13, "task_api_version", "TaskApiVersion", "uint32"),
        ),
        GENERIC: (
            Field(1, "type_url", "TypeUrl", "string"),
            Field(2, "config_path", "ConfigPath", "string"),
            Field(3, "config_body", "ConfigBody", "bytes"),
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Options:
    """An options message: its name, which is its ``type_url``, and its fields in the order of their numbers."""

    type_url: str
    fields: tuple[tuple[str, Value], ...]

    def readable(self) -> shapes.OptionFields:
        """Return the fields as JSON values; bytes are text, or ``{"base64": …}`` where they are none."""
        return {name: _readable(value) for name, value in self.fields}


@dataclass(frozen=True, slots=True)
class OptionFault:
    """What is wrong with one key of an ``options`` object; ``key`` is spelt as the file has it, "" for the whole."""

    key: str
    found: str
    expected: str
    message: str


_NUMBERS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {message: MappingProxyType({field.name: field.number for field in fields}) for message, fields in MESSAGES.items()}
)


def message_of(runtime_type: str) -> str:
    """Return the name of the options message that the shim ``runtime_type`` takes."""
    return RUNC if runtime_type in RUNC_SHIMS else GENERIC


def read_options(runtime_type: str, given: Mapping[str, object]) -> tuple[Options | None, tuple[OptionFault, ...]]:
    """Return the typed options that ``given`` (an ``options`` object of daemon.json) states, and all its faults.

    The options are None where ``given`` says nothing (the shim then gets no options message) or has faults.
    """
    if not given:
        return None, ()
    if runtime_type == RUNHCS_SHIM:
        message = f"{RUNHCS_SHIM} runs Windows containers; its options mean nothing on a Linux node"
        return None, (OptionFault("", "options", "no options", message),)
    message_name = message_of(runtime_type)
    known = {spelling.casefold(): f for f in MESSAGES[message_name] for spelling in (f.name, f.go_name)}
    values: dict[str, Value] = {}
    faults: list[OptionFault] = []
    for key, raw in given.items():
        if raw is None:
            # As in every other place of daemon.json: null is what is not there.
            continue
        wanted = known.get(key.casefold())
        if wanted is None:
            faults.append(_unknown_key(key, message_name))
        elif wanted.name in values:
            text = f"option {wanted.go_name} is given twice, as {shown(key)} too"
            faults.append(OptionFault(key, shown(key), "each option once", text))
        elif isinstance(value := _typed(wanted, key, raw), OptionFault):
            faults.append(value)
        else:
            values[wanted.name] = value
    if faults or not values:
        return None, tuple(faults)
    return make_options(message_name, values), ()


def make_options(message_name: str, values: Mapping[str, Value]) -> Options:
    """Return the message ``message_name`` with ``values`` (protobuf name -> value), fields in canonical order."""
    return Options(message_name, tuple((f.name, values[f.name]) for f in MESSAGES[message_name] if f.name in values))


def encode_options(options: Options) -> bytes:
    """Return ``options`` as the protobuf bytes that stand in ``google.protobuf.Any.value``.

    Fields stand in the order of their numbers, those with their default value are left out (proto3), so equal options
    are equal bytes. Written by hand after the encoding document of protobuf (protobuf.dev/programming-guides/encoding):
    two kinds of flat fields are not worth what the library costs every start.
    """
    numbers = _NUMBERS[options.type_url]
    return b"".join([_encoded(numbers[name], value) for name, value in options.fields if value])


def _encoded(number: int, value: Value) -> bytes:
    """Return one field: the key, which is its number and wire type (0 VARINT, 2 LEN), and the value."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return b"%b%b%b" % (_varint(number << 3 | 2), _varint(len(data)), data)


def _varint(value: int) -> bytes:
    """Return ``value`` in groups of seven bits, the lowest first; the highest bit says that more follow."""
    if value <= 0x7F:  # noqa: PLR2004 - as below
        return bytes((value,))
    groups = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _unknown_key(key: str, message_name: str) -> OptionFault:
    names = [f.go_name for f in MESSAGES[message_name]]
    near = nearest(key.replace("_", ""), names)
    hint = f"; did you mean {shown(near)}?" if near else ""
    return OptionFault(
        key, shown(key), "one of " + ", ".join(names), f"unknown option {shown(key)} of {message_name}{hint}"
    )


_UINT32_MAX = 2**32 - 1
_EXPECTED: Mapping[Kind, str] = MappingProxyType(
    {
        "bool": "true or false",
        "string": "a string",
        "uint32": f"an integer from 0 to {_UINT32_MAX}",
        "bytes": 'a string, or {"base64": "…"} with valid base64 for bytes that are no text',
    }
)


def _typed(wanted: Field, key: str, raw: object) -> Value | OptionFault:
    value: Value | None = None
    match wanted.kind, raw:
        case ("bool", bool(flag)) | ("uint32", bool(flag)):
            value = flag if wanted.kind == "bool" else None
        case "string", str(text):
            value = text
        case "uint32", int(number) if 0 <= number <= _UINT32_MAX:
            value = number
        case "bytes", str(text):
            value = text.encode()
        case "bytes", {"base64": str(text), **rest} if not rest:
            value = _from_base64(text)
    if value is not None:
        return value
    found, expected = shown(raw), _EXPECTED[wanted.kind]
    return OptionFault(key, found, expected, f"option {wanted.go_name}: found {found}, expected {expected}")


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _readable(value: Value) -> bool | int | str | shapes.Base64:
    if not isinstance(value, bytes):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    # daemon.json takes no NUL in a string.
    return text if "\0" not in text else {"base64": base64.b64encode(value).decode()}


class UndecodableOptions(RuntimedError):
    """The bytes that somebody gave a shim are not the options message ``type_url``."""

    code = "undecodable-options"

    def __init__(self, type_url: str, reason: str) -> None:
        super().__init__(f"undecodable options of type {type_url}: {reason}")
        self.type_url = type_url
        self.reason = reason


def decode_options(type_url: str, value: bytes) -> Options:
    """Return what the bytes ``value`` of a ``google.protobuf.Any`` say; fields with their default value are left out.

    ``type_url`` may carry a prefix that ends in a slash. Fields that the tables above do not know are skipped.

    Raises:
        UndecodableOptions: the message is unknown, or ``value`` is none such.
    """
    name = type_url.rpartition("/")[2]
    if name not in MESSAGES:
        raise UndecodableOptions(type_url, "an unknown message")
    try:
        message = parse_message(_message_class(name), value)
    except ValueError as error:
        raise UndecodableOptions(type_url, str(error)) from error
    return make_options(name, {field.name: found for field, found in message.ListFields()})


@cache
def _message_class(message_name: str) -> Any:
    package, _, name = message_name.rpartition(".")
    fields = [(field.number, field.name, field.kind) for field in MESSAGES[message_name]]
    return message_classes(package, {name: fields})[name]
