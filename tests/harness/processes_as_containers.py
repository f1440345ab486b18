"""A runtime whose containers are processes without any isolation, so that every user can run it everywhere."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.daemon import put_executable

# {step} comes before the code for each verb.
_TEXT = """\
#!{python} -IS
import json, os, sys, time
words = sys.argv[1:]
state = words[words.index("--root") + 1]
verb = next(word for word in words if word in ("create", "start", "delete"))
go = os.path.join(state, "go")
{step}
if verb == "create":
    bundle = words[words.index("--bundle") + 1]
    args = json.load(open(bundle + "/config.json"))["process"]["args"]
    os.makedirs(state)
    os.mkfifo(go)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        open(go).close()
        os.execv(args[0], args)
    with open(words[words.index("--pid-file") + 1], "w") as file:
        file.write(str(pid))
elif verb == "start":
    open(go, "w").close()
elif os.path.exists(go):
    os.unlink(go)
"""


def put_runtime(path: Path, step: str = "") -> Path:
    """Put the runtime at ``path``; it executes ``step``, in which ``verb``, ``words`` and ``state`` are set, first."""
    return put_executable(path, _TEXT.format(python=sys.executable, step=step))
