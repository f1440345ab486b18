"""Creates protobuf message classes from tables of fields, for decoding.

The library is imported with the first message, because it takes 5 MB and a seventh of the daemon's start, and only the
reference scan decodes messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Fields: number, name, and type, which is "bool", "string", "uint32", "bytes", a message of the same package, or a list
# of one message for a repeated field.
Fields = Sequence[tuple[int, str, str | list[str]]]


def message_classes(package: str, messages: Mapping[str, Fields]) -> Mapping[str, Any]:
    """Return a class for each of ``messages`` (name -> fields) of a proto3 ``package``."""
    from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: PLC0415 - see above
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415

    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {name: kinds.Type.Value(f"TYPE_{name.upper()}") for name in ("bool", "string", "uint32", "bytes")}
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, field_name, kind in fields:
            label = kinds.LABEL_REPEATED if isinstance(kind, list) else kinds.LABEL_OPTIONAL
            word = kind[0] if isinstance(kind, list) else kind
            field = message.field.add(name=field_name, number=number, label=label)
            field.type = scalars.get(word, kinds.TYPE_MESSAGE)
            if word not in scalars:
                field.type_name = f".{package}.{word}"
    # A separate pool, because the default one may contain the same messages.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


def parse_message(message_class: Any, data: bytes) -> Any:
    """Return ``data`` as a message; fields that the message's table does not have are skipped.

    Raises:
        ValueError: ``data`` is not such a message.
    """
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - see above

    message = message_class()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return message
