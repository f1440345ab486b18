"""What the entry module does before anything else is imported."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from runtimed.__main__ import _import_asyncio
_import_asyncio()
assert "asyncio" in sys.modules
assert "ssl" not in sys.modules and "_ssl" not in sys.modules
import asyncio, ssl
assert ssl.OPENSSL_VERSION
asyncio.run(asyncio.sleep(0))
"""


def test_asyncio_is_imported_without_openssl_and_whoever_wants_that_has_it_afterwards() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_where_ssl_is_there_already_it_stays() -> None:
    program = "import ssl\nfrom runtimed.__main__ import _import_asyncio\n_import_asyncio()\nimport sys\n"
    subprocess.run([sys.executable, "-c", f"{program}assert sys.modules['ssl'] is ssl"], check=True)
