"""Tests of the texts of argparse, for which runtimectl's parser looks for no translations."""

from __future__ import annotations

import os
import subprocess
import sys

# Prints how many translations argparse looks for: for a parser of its own, and then for runtimectl's.
PROGRAM = """
import argparse
import gettext

searches = []
gettext.find = lambda *arguments, **more: searches.append(arguments)
assert argparse._ is gettext.gettext
argparse.ArgumentParser().parse_args([])
print(len(searches))

searches.clear()
from runtimed.cli.parser import make_parser
make_parser(["resolve", "runc"]).parse_known_args(["resolve", "runc"])
make_parser(()).format_help()
print(len(searches))
"""


def test_argparse_looks_for_translations_but_not_for_runtimectl() -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    output = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True)
    alone, for_runtimectl = map(int, output.split())
    assert alone > 0, "argparse no longer translates by its global `_`: remove the line in runtimed/cli/parser.py"
    assert for_runtimectl == 0
