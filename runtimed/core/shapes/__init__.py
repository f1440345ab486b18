"""The JSON shapes of the API, once, as types.

Three subjects: the table (``runtimes``), the daemon itself (``daemon``), problems (``problems``).
"""

from runtimed.core.shapes.daemon import *  # noqa: F403 - the three modules are one namespace
from runtimed.core.shapes.problems import *  # noqa: F403
from runtimed.core.shapes.runtimes import *  # noqa: F403
