"""Tests the examples in the client's documentation, and its types with mypy."""

from __future__ import annotations

import asyncio
import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.daemon import RunningDaemon, new_daemon
from harness.documents import BLOCKS

import runtimed.client
import runtimed.client.asynchronous
import runtimed.client.sync

CHECKOUT = Path(runtimed.__file__).parents[1]
SESSIONS = [block for block in BLOCKS if block.language == "pycon"]
MODULES = (runtimed.client, runtimed.client.sync, runtimed.client.asynchronous)
NAMES = {**{name: getattr(runtimed.client, name) for name in runtimed.client.__all__}, "asyncio": asyncio}
EXAMPLES = [
    example
    for module in MODULES
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=NAMES)
    if example.examples
]
# A comment is the code of the error that mypy must report in that line.
SNIPPET = """
from typing import assert_type
from runtimed.client import AsyncClient, Client, UnknownRuntime
from runtimed.core.shapes.daemon import Report, Status
from runtimed.client.table_file import Resolution
from runtimed.core.shapes.runtimes import Generations, Options
from runtimed.core import shapes

client = Client()
assert_type(client.resolve("x"), Resolution)
assert_type(client.resolve("x")["options"], Options | None)
of_the_api: shapes.Resolution = client.resolve("x")
if client.resolve("x").get("from") == "fil": ...  # comparison-overlap
assert_type(client.reload(dry_run=True), Report)
client.resolve("x")["shimm"]  # typeddict-item
client.resolve("x")["options"]["value"]  # index
client.resolve(1)  # arg-type
for event in client.watch():
    assert_type(event["seq"], int)
    if event["type"] == "reload":
        assert_type(event["duration_ms"], float)
        event["default"]  # typeddict-item

async def main() -> str:
    client = AsyncClient(timeout_s=1)
    assert_type(await client.resolve("x"), Resolution)
    assert_type(await client.status(), Status)
    assert_type(await client.generations(), Generations)
    client.resolve("x")["shim"]  # index
    async for event in client.watch(since=1):
        if event["type"] == "generation":
            return event["default_runtime"]
        if event["type"] == "no such type":  # comparison-overlap
            break
    try:
        return (await client.explain("x"))["wrapper"]["path"]  # index
    except UnknownRuntime as error:
        return error.nearest  # return-value
"""


@pytest.fixture(scope="module")
def sample() -> Iterator[RunningDaemon]:
    """Yield a daemon with the sample configuration, on a node where every binary that has arguments is there."""
    with new_daemon() as made:
        made.write((CHECKOUT / "etc/runtimed/daemon.json").read_text().replace("/usr/bin/runsc", "/bin/sh"))
        yield made.start()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_in_a_docstring_has_the_documented_result(
    sample: RunningDaemon, monkeypatch: pytest.MonkeyPatch, example: doctest.DocTest
) -> None:
    monkeypatch.setenv("RUNTIMED_SOCKET", str(sample.socket))
    assert ran(example) == ""


def test_every_request_has_an_example() -> None:
    asked = {example.name for example in EXAMPLES}
    client = "runtimed.client.sync.Client"
    questions = {f"{client}.{name}" for name, value in vars(runtimed.client.Client).items() if callable(value)}
    assert {name for name in questions if "._" not in name} <= asked
    assert {"runtimed.client", client, "runtimed.client.asynchronous.AsyncClient"} <= asked


@pytest.mark.parametrize("file", sorted({block.file for block in SESSIONS}), ids=lambda file: file.name)
def test_the_examples_of_a_document_have_the_documented_results(
    sample: RunningDaemon, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setenv("RUNTIMED_SOCKET", str(sample.socket))
    # One session for a document, as a reader would type it.
    text = "\n".join(block.text for block in SESSIONS if block.file == file)
    assert ran(doctest.DocTestParser().get_doctest(text, {}, file.name, str(file), 0)) == ""


def ran(example: doctest.DocTest) -> str:
    """Return how what happens differs from what ``example`` shows."""
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    return "".join(said)


def test_mypy_checks_a_users_program_against_the_response_types(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(SNIPPET)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={tmp_path}/cache",
        str(program),
    ]
    environ = {**os.environ, "MYPYPATH": str(CHECKOUT), "NO_COLOR": "1"}
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, cwd=tmp_path)
    found = re.findall(r"^program\.py:(\d+): error: .*\[([a-z-]+)\]$", run.stdout, re.MULTILINE)
    expected = [
        (str(number), line.rpartition("  # ")[2])
        for number, line in enumerate(SNIPPET.split("\n"), 1)
        if "  # " in line
    ]
    assert found == expected, run.stdout + run.stderr
