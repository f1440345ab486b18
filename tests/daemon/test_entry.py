"""The entry module: its steps before it imports anything else."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys

from runtimed.__main__ import _import_without
_import_without("ssl", "asyncio")
assert "asyncio" in sys.modules
assert "ssl" not in sys.modules and "_ssl" not in sys.modules
import asyncio, ssl
assert ssl.OPENSSL_VERSION
asyncio.run(asyncio.sleep(0))
"""
# Ends before the start, because it reads no configuration.
VERSION = """
import sys

# A measurement of the coverage has imported some.
before = set(sys.modules)
from runtimed.__main__ import main
sys.argv = ["runtimed", "--version"]
try:
    main()
except SystemExit:
    print(*(sys.modules.keys() - before))
"""
# Packages that cost a tenth of the start or a MB, and are loaded where they are needed, if at all.
COSTLY = {"ssl", "rich", "attr", "pydantic", "prometheus_client", "tomllib", "tomli_w", "unittest", "google"}


def test_asyncio_is_imported_without_openssl_and_ssl_can_be_imported_later() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_an_imported_ssl_module_stays() -> None:
    program = (
        "import ssl\nfrom runtimed.__main__ import _import_without\n_import_without('ssl', 'asyncio')\nimport sys\n"
    )
    subprocess.run([sys.executable, "-c", f"{program}assert sys.modules['ssl'] is ssl"], check=True)


def test_a_start_imports_no_costly_package() -> None:
    run = subprocess.run([sys.executable, "-c", VERSION], check=True, capture_output=True, text=True)
    imported = {name.partition(".")[0] for name in run.stdout.split()}
    assert {"asyncio", "structlog", "runtimed"} <= imported
    assert not imported & COSTLY


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "status"), [("--help", 0), ("--version", 0), ("--nosuch", 2)])
def test_help_and_usage_end_with_their_status_when_the_standard_streams_are_closed(
    arguments: str, status: int, closed: str
) -> None:
    for module in ("runtimed", "runtimed.cli.ctl"):
        command = f"{sys.executable} -m {module} {arguments} {closed}"
        assert subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == status


def test_closed_standard_streams_are_replaced_so_that_no_file_gets_their_descriptors() -> None:
    program = (
        "import os\nfrom runtimed.streams import open_standard_streams\nopen_standard_streams()\n"
        "assert {os.fstat(fd).st_rdev for fd in range(3)} == {os.stat('/dev/null').st_rdev}\n"
        "assert os.open('/', os.O_RDONLY) == 3\nprint('to stdout', flush=True)\n"
    )
    run = subprocess.run(["sh", "-c", f'exec {sys.executable} -c "{program}" <&- >&- 2>&-'], check=False)
    assert run.returncode == 0
