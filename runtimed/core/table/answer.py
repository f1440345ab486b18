"""The answer to "what is this runtime?", rendered once; only the generation's number is put in later."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimed.core.containerd.options import Options, encode_options

if TYPE_CHECKING:
    from runtimed.core import shapes

# json.dumps() makes one anew for every call that asks for separators.
_COMPACT = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Answer:
    """A rendered resolution: the JSON before and after the generation's number, and its digest.

    ``digest`` changes only when the answer does; the generation's number is no part of it.
    """

    head: bytes
    tail: bytes
    digest: str

    def at(self, generation: int) -> bytes:
        """Return the whole JSON object as it is given in generation number ``generation``."""
        return b"%b%d%b" % (self.head, generation, self.tail)


def render_answer(runtime: str, source: shapes.Provenance, shim: str, options: Options | None) -> Answer:
    """Return the answer that names ``shim`` and ``options`` for the name ``runtime``.

    Options stand in it twice: as readable fields, and as the ``{type_url, value}`` of the
    ``google.protobuf.Any`` that containerd takes (value in base64). The type_url is the bare message
    name: containerd 1.6 compares it exactly.
    """
    meaning: shapes.Meaning = {
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
    digest = "sha256:" + hashlib.sha256(head).hexdigest()
    return Answer(head, b',"digest":"%b"}' % digest.encode(), digest)
