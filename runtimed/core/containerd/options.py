"""Reads, encodes and decodes the options of shims.

The field tables follow containerd's ``api/types/runc/options/oci.proto`` and ``api/types/runtimeoptions/v1/api.proto``.
daemon.json may use the Go names of dockerd (``BinaryName``) and the protobuf names (``binary_name``), in any case.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
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
_RUNHCS_SHIM = "io.containerd.runhcs.v1"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an options message."""

    number: int
    name: str
    go_name: str
    kind: Kind


MESSAGES: Mapping[str, tuple[Field, ...]] = {
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
_NUMBERS = {message: {field.name: field.number for field in fields} for message, fields in MESSAGES.items()}
_UINT32_MAX = 2**32 - 1
_EXPECTED: Mapping[Kind, str] = {
    "bool": "true or false",
    "string": "a string",
    "uint32": f"an integer from 0 to {_UINT32_MAX}",
    "bytes": 'a string, or {"base64": "…"} with valid base64 for bytes that are not text',
}


@dataclass(frozen=True, slots=True)
class Options:
    """An options message: its name, which is the ``type_url``, and its fields (name, value) sorted by number."""

    type_url: str
    fields: tuple[tuple[str, Value], ...]

    @property
    def binary_name(self) -> str:
        """The OCI runtime's binary, a path or a name; "" if the message has none."""
        return str(dict(self.fields).get("binary_name", ""))

    def readable(self) -> shapes.OptionFields:
        """Return the fields as JSON values; bytes become text, or ``{"base64": …}`` if they are not UTF-8."""
        return {name: _readable(value) for name, value in self.fields}


@dataclass(frozen=True, slots=True)
class OptionFault:
    """A fault in an ``options`` object; ``key`` is spelt as in the file, "" for the whole object."""

    key: str
    found: str
    expected: str
    message: str


class UndecodableOptions(RuntimedError):
    """The bytes of a shim's options are not a message ``type_url``."""

    code = "undecodable-options"

    def __init__(self, type_url: str, reason: str) -> None:
        super().__init__(f"undecodable options of type {type_url}: {reason}")
        self.type_url = type_url
        self.reason = reason


def message_of(runtime_type: str) -> str:
    """Return the name of the options message of the shim ``runtime_type``."""
    return RUNC if runtime_type in RUNC_SHIMS else GENERIC


def read_options(runtime_type: str, given: Mapping[str, object]) -> tuple[Options | None, tuple[OptionFault, ...]]:
    """Return the typed options in ``given``, an ``options`` object of daemon.json, and all its faults.

    The options are None if ``given`` has no values (the shim then receives no options message) or has faults.
    """
    if not given:
        return None, ()
    if runtime_type == _RUNHCS_SHIM:
        message = f"{_RUNHCS_SHIM} runs Windows containers; its options have no effect on a Linux node"
        return None, (OptionFault("", "options", "no options", message),)
    message_name = message_of(runtime_type)
    known = {spelling.casefold(): f for f in MESSAGES[message_name] for spelling in (f.name, f.go_name)}
    values: dict[str, Value] = {}
    faults: list[OptionFault] = []
    for key, raw in given.items():
        if raw is None:
            # As everywhere in daemon.json, null means "not set".
            continue
        wanted = known.get(key.casefold())
        if wanted is None:
            faults.append(_unknown_key(key, message_name))
        elif wanted.name in values:
            text = f"option {wanted.go_name} is given twice, also as {shown(key)}"
            faults.append(OptionFault(key, shown(key), "each option once", text))
        elif isinstance(value := _typed(wanted, key, raw), OptionFault):
            faults.append(value)
        else:
            values[wanted.name] = value
    if faults or not values:
        return None, tuple(faults)
    return make_options(message_name, values), ()


def make_options(message_name: str, values: Mapping[str, Value]) -> Options:
    """Return the message ``message_name`` with ``values`` (protobuf name -> value)."""
    return Options(message_name, tuple((f.name, values[f.name]) for f in MESSAGES[message_name] if f.name in values))


def encode_options(options: Options) -> bytes:
    """Return the protobuf encoding of ``options``, the ``value`` of a ``google.protobuf.Any``.

    Fields are sorted by number and those with their default value are omitted (proto3), so equal options have equal
    bytes. Follows protobuf.dev/programming-guides/encoding without the library, which would slow down each start.
    """
    numbers = _NUMBERS[options.type_url]
    return b"".join([_encoded(numbers[name], value) for name, value in options.fields if value])


def _encoded(number: int, value: Value) -> bytes:
    """Return one field: the key, made of number and wire type (0 VARINT, 2 LEN), and the value."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return b"%b%b%b" % (_varint(number << 3 | 2), _varint(len(data)), data)


def _varint(value: int) -> bytes:
    """Return ``value`` in groups of seven bits, the lowest first; the highest bit of a byte means that more follow."""
    if value <= 0x7F:  # noqa: PLR2004 - most values, without the loop
        return bytes((value,))
    groups = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _unknown_key(key: str, message_name: str) -> OptionFault:
    names = [field.go_name for field in MESSAGES[message_name]]
    near = nearest(key.replace("_", ""), names)
    message = f"unknown option {shown(key)} of {message_name}" + (f"; did you mean {shown(near)}?" if near else "")
    return OptionFault(key, shown(key), "one of " + ", ".join(names), message)


def _typed(wanted: Field, key: str, raw: object) -> Value | OptionFault:
    match wanted.kind, raw:
        case ("bool", bool(value)) | ("string", str(value)):
            return value
        case "uint32", int(value) if not isinstance(value, bool) and 0 <= value <= _UINT32_MAX:
            return value
        case "bytes", str(text):
            return text.encode()
        case "bytes", {"base64": str(text), **rest} if not rest and (decoded := _from_base64(text)) is not None:
            return decoded
    found, expected = shown(raw), _EXPECTED[wanted.kind]
    return OptionFault(key, found, expected, f"option {wanted.go_name}: found {found}, expected {expected}")


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def _readable(value: Value) -> bool | int | str | shapes.Base64:
    if not isinstance(value, bytes):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    # daemon.json accepts no NUL in a string.
    return text if "\0" not in text else {"base64": base64.b64encode(value).decode()}


def decode_options(type_url: str, value: bytes) -> Options:
    """Return the options in ``value``, that of a ``google.protobuf.Any``, without fields that have their default value.

    ``type_url`` may have a prefix that ends in a slash. Skips fields that the tables above do not have.

    Raises:
        UndecodableOptions: the message is unknown, or ``value`` is not such a message.
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
