"""Parses TOML with the position of an error, and renders TOML and JSON so that they are safe for a terminal."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from runtimed.core.configuration.inputs import Source
from runtimed.core.configuration.position import Pointer
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import shown

_TEMPLATE = "the file is a Go template, import the config.toml that is made from it"
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
# The end of every message of tomllib; only Python 3.14 has attributes for it.
_PLACE = r" \(at line (\d+), column (\d+)\)\Z"


def dotted(*keys: str) -> str:
    """Return the path of a value as TOML writes it: ``plugins."io.containerd.grpc.v1.cri".containerd``."""
    return ".".join(key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False) for key in keys)


def parse_toml(source: Source) -> dict[str, Any]:
    """Return the value of a TOML document.

    Raises:
        ConfigurationRejected: the document is not valid.
    """
    try:
        return tomllib.loads(source.data.decode())
    except UnicodeDecodeError as exc:
        line = source.data[: exc.start].count(b"\n") + 1
        text = f"byte 0x{source.data[exc.start]:02x} is not UTF-8, which TOML requires"
        problem = Problem(text, source.path, line)
    except tomllib.TOMLDecodeError as exc:
        where = re.search(_PLACE, str(exc))
        line_and_column = map(int, where.groups()) if where is not None else ()
        # k3s and RKE2 have such a template.
        found = f"{_TEMPLATE}; " if b"{{" in source.data else ""
        problem = Problem(f"not valid TOML: {found}{re.sub(_PLACE, '', str(exc))}", source.path, *line_and_column)
    except ValueError as exc:
        # tomllib lets the error of Python's limit of an integer's digits through.
        problem = Problem(f"not valid TOML: {str(exc).partition(';')[0]}", source.path)
    except RecursionError:
        problem = Problem("the document is nested deeper than any configuration is", source.path)
    raise ConfigurationRejected((problem,))


def shown_toml(value: object) -> str:
    """Return a value of TOML, which may be a date or a time, for a message."""
    return shown(value) if isinstance(value, str | int | float | dict | list) else str(value)


def unknown_to_json(value: object, pointer: Pointer = ()) -> Iterator[tuple[Pointer, object]]:
    """Yield dates, times and numbers that are not finite, which TOML has and JSON lacks, with their places."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from unknown_to_json(item, (*pointer, key))
    elif not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        yield pointer, value


def render_json(document: Mapping[str, object]) -> str:
    """Return ``document`` as JSON in ASCII, which is valid in every locale."""
    return json.dumps(document, indent=2) + "\n"


def render_toml(document: Mapping[str, object]) -> str:
    """Return ``document`` as TOML."""
    import tomli_w  # noqa: PLC0415 - an import does not need it

    # tomli_w escapes ESC and BEL, but not the C1 controls and the marks that turn the direction of writing. They can
    # only be in basic strings, where TOML takes escapes.
    text = tomli_w.dumps(document)
    return "".join(c if c.isprintable() or c == "\n" else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - as TOML has it
