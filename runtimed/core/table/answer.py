"""Renders resolutions as JSON, once for each change of a runtime."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed.core.containerd.options import Options, encode_options

if TYPE_CHECKING:
    from runtimed.core import shapes

# Kept, because json.dumps() creates an encoder for each call that passes separators.
_COMPACT = json.JSONEncoder(separators=(",", ":"))
_BEFORE_DIGEST, _AFTER_DIGEST = b',"digest":"', b'"}'


@dataclass(frozen=True, slots=True)
class Answer:
    """A rendered resolution: the JSON before and after the generation's number, which ends with the digest.

    The digest does not cover the generation's number, so it changes only when the resolution does.
    """

    head: bytes
    tail: bytes

    @property
    def digest(self) -> str:
        """The digest of the resolution."""
        return self.tail[len(_BEFORE_DIGEST) : -len(_AFTER_DIGEST)].decode()

    def at(self, generation: int) -> bytes:
        """Return the JSON object as generation number ``generation`` has it."""
        return b"%b%d%b" % (self.head, generation, self.tail)


def render_answer(runtime: str, source: shapes.Provenance, shim: str, options: Options | None) -> Answer:
    """Return the resolution of the name ``runtime`` to ``shim`` and ``options``.

    The options appear twice: as readable fields, and as the ``{type_url, value}`` of the ``google.protobuf.Any`` for
    containerd, with the value in base64. The type_url is the bare message name, which containerd 1.6 compares exactly.
    """
    meaning: shapes.ResolutionBody = {
        "runtime": runtime,
        "source": source,
        "shim": shim,
        "options": None
        if options is None
        else {
            "type_url": options.type_url,
            "value": base64.b64encode(encode_options(options)).decode(),
            "fields": options.readable(),
        },
    }
    head = _COMPACT.encode(meaning).encode()[:-1] + b',"generation":'
    digest = f"sha256:{hashlib.sha256(head).hexdigest()}"
    return Answer(head, _BEFORE_DIGEST + digest.encode() + _AFTER_DIGEST)
