"""Defines the JSON shapes of the API as types: ``runtimes``, the ``daemon``, its ``events``, ``history``, ``problems``.

The functions that make these values are typed with them, and `/openapi.json` is generated from them: it shows the
docstring of each shape and the text of each ``Annotated``. A shape may get more keys; no key is renamed or removed.

The modules import ``typing`` only, so that a client can use these types.
"""

from runtimed.core.shapes.daemon import *  # noqa: F403 - the modules are one namespace
from runtimed.core.shapes.events import *  # noqa: F403
from runtimed.core.shapes.history import *  # noqa: F403
from runtimed.core.shapes.problems import *  # noqa: F403
from runtimed.core.shapes.runtimes import *  # noqa: F403
from runtimed.core.shapes.triggers import *  # noqa: F403
