"""Words the problem of a default runtime that is not proved, where the configuration requires a proof."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtimed.core.config import Config
from runtimed.core.errors import Problem
from runtimed.core.message_text import called, shown

if TYPE_CHECKING:
    from runtimed.core import shapes


def unproved_default(config: Config, proof: shapes.Proof, *, is_in_use: bool, proved: Sequence[str]) -> Problem:
    """Return the problem that ``proof``, that of the default runtime of ``config``, is not valid, with the remedy.

    ``is_in_use``: the current generation has the same resolution, so that it can be tested. ``proved`` are the names
    of the runtimes that are proved and could be the default meanwhile.
    """
    name = config.default_runtime
    if proof["outcome"] is None:
        reason = "it was never tested"
    elif proof["outcome"] == "failed":
        reason = f"its last test failed: {proof['detail']}"
    else:
        reason = str(proof["detail"])
    text = f"the default runtime {called(name)} is not proved ({reason}), and runtimed.require-proof requires it"
    return config.default_at.problem(f"{text}; {_remedy(name, is_in_use, proved)}", shown(name), "a proved runtime")


def _remedy(name: str, is_in_use: bool, proved: Sequence[str]) -> str:  # noqa: FBT001 - private
    test = f"runtimectl test {'-- ' if name.startswith('-') else ''}{shlex.quote(name)}"
    if is_in_use:
        return f"run: {test} && runtimectl reload"
    # Only a resolution that is in use can be tested.
    if proved:
        first = f'"default-runtime": {shown(proved[0])}, which is proved'
        last = f'"default-runtime": {shown(name)}'
    else:
        first, last = '"require-proof": false', '"require-proof": true'
    return f"its resolution is not in use yet: apply the change with {first}; then run: {test}; then set {last}"
