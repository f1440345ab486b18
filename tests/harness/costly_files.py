"""Configuration files of up to 16 MiB that are made to cost much; run as a program, parses one and prints the cost."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from runtimed.core.config import Settings
from runtimed.core.configuration.inputs import Documents, Flags, Source
from runtimed.core.configuration.parse import MAX_VALUES, parse_configuration
from runtimed.core.errors import ConfigurationRejected

MOST = 16 * 1024 * 1024


def repeated(head: str, unit: str, tail: str, times: int = MOST) -> bytes:
    """Return ``head``, as many of ``unit`` as there is room for but no more than ``times``, and ``tail``."""
    times = min(times, (MOST - len(head) - len(tail)) // len(unit))
    return (head + (unit * times).rstrip(",") + tail).encode()


def numbered(head: str, unit: str, tail: str, times: int) -> bytes:
    return (head + ",".join(unit.replace("#", str(number)) for number in range(times)) + tail).encode()


def _entries(unit: str, values: int) -> bytes:
    """Return runtimes of ``values`` values each, as many as are read before the file is refused for their number."""
    return numbered('{"runtimes":{', unit, "}}", (MAX_VALUES - 2) // values)


_UNKNOWN = ",".join(f'"runtimeArgz{number}":1' for number in range(990))
CASES: Mapping[str, Callable[[], bytes]] = {
    "numbers": lambda: repeated('{"labels":[', "1,", "]}"),
    "wrong arguments, 16 MiB": lambda: repeated('{"runtimes":{"a":{"path":"/x","runtimeArgs":[', "1,", "]}}}"),
    "wrong arguments": lambda: repeated('{"runtimes":{"a":{"path":"/x","runtimeArgs":[', "1,", "]}}}", MAX_VALUES - 9),
    "objects in objects": lambda: repeated('{"labels":[', '{"a":' * 98 + "1" + "}" * 98 + ",", "]}"),
    "lists in lists": lambda: repeated('{"labels":[', "[" * 97 + "]" * 97 + ",", "]}"),
    "empty objects": lambda: repeated('{"labels":[', "{},", "]}"),
    "good runtimes": lambda: _entries('"r#":{"path":"/x"}', 2),
    "empty runtimes": lambda: _entries('"r#":{}', 1),
    "wrong runtimes": lambda: _entries('"r#":{"path":1,"x":2}', 3),
    "wrong options": lambda: _entries('"r#":{"runtimeType":"a.b.c","options":{"ConfigPat":1}}', 4),
    "unknown keys of runtimes": lambda: numbered('{"runtimes":{', '"r#":{' + _UNKNOWN + "}", "}}", 250),
    "a long name with problems": lambda: numbered('{"runtimes":{"', "k" * (MOST // 2), '":{' + _UNKNOWN + "}}}", 1),
    "long names with problems": lambda: numbered(
        '{"runtimes":{', '"' + "k" * 16_000 + '#":{"path":"a","runtimeType":"b","options":{"a":1}}', "}}", 1000
    ),
    "engines": lambda: repeated('{"runtimed":{"containerd":[', '{"addres":1,"stat":2},', "]}}", 80_000),
    "keys that nearly match": lambda: numbered(
        '{"', 'default-runtim#":1,"allow-nondistributable-artifac#":[],"', '":1}', 490
    ),
    "a default that nearly matches": lambda: numbered(
        '{"default-runtime":"' + "ab" * 29 + '","runtimes":{', '"' + "ab" * 26 + '#":{"path":"/x"}', "}}", 120_000
    ),
    "equal keys": lambda: repeated("{", '"a":1,', "}"),
    "escapes": lambda: repeated('{"\N{GRINNING FACE}":"', r"\u0041", '"}', 2_700_000),
    "strings of escapes": lambda: repeated('{"labels":[', r'"\n",', "]}"),
    "half surrogate pairs": lambda: repeated('{"labels":[', r'"\ud800",', "]}"),
    "line feeds": lambda: repeated('{"\N{GRINNING FACE}":1,', "\n", '"labels":1}', MOST - 100),
    "long integers": lambda: repeated('{"labels":[', "9" * 200 + ",", "]}"),
    "an unfinished string": lambda: repeated('{"labels":"', r"\n", ""),
}


def main(case: str) -> None:
    """Print the seconds of processor time and the most bytes of memory that it takes to parse a case."""
    data = CASES[case]()
    assert len(data) <= MOST
    # The generator's own peak does not count (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")
    began_s = time.process_time()
    settings = Settings("/var/lib/runtimed", "/run/runtimed", ())
    count = 0
    try:
        parse_configuration(Documents("/m", Source("/m", data)), Flags(), settings)
    except ConfigurationRejected as rejection:
        count = len(rejection.problems) + rejection.omitted
    took_s = time.process_time() - began_s
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps({"took_s": took_s, "peak_bytes": peak, "problems": count}))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(sys.argv[1])
