"""Measures runtimed beside peers and limits: ``python tests/bench [--json] [--compare FILE] [--smoke] [GROUP …]``.

README.md in this directory says how to read the output. h2load (Debian's nghttp2-client) makes the load; dockerd is a
peer where it is installed (Debian's docker.io), aiohttp and uvicorn come with the extra ``bench``. All sockets and
files are below temporary directories.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The directory above, so that this one is the package `bench`, beside the helpers in `harness`.
sys.path[0] = str(Path(__file__).parents[1])

from bench.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
