"""All figures, beside those of a peer or a limit measured in the same run: ``python tests/bench [--json] [GROUP …]``.

Groups are ``serving``, ``reading``, ``stalls``, ``reloading``, ``features``, ``launching`` and ``footprint``. All of
them take about ten minutes.
h2load (Debian's nghttp2-client) makes the load; dockerd is a peer where it is installed (Debian's docker.io), aiohttp
and uvicorn come with the extra ``bench``. Everything happens on Unix sockets below a temporary directory. The ratios
mean something on a machine that does nothing else.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from table import Row, render

GROUPS = ("serving", "reading", "stalls", "reloading", "features", "launching", "footprint")


def main(argv: list[str]) -> int:
    """Measure and print; return 0, or 1 if a goal is not reached."""
    as_json = "--json" in argv
    groups = [name for name in argv if name != "--json"] or GROUPS
    if unknown := set(groups) - set(GROUPS):
        print(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for group in groups:
        for row in importlib.import_module(group).measure():
            rows.append(row)
            if not as_json:
                print(f"… {row.measure}", file=sys.stderr, flush=True)
    print(json.dumps([asdict(row) | {"holds": row.holds} for row in rows], indent=1) if as_json else render(rows))
    return int(any(row.holds is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
