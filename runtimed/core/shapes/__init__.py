"""The JSON shapes of the API, once, as types.

Three subjects: the table (``runtimes``), the daemon itself (``daemon``), problems (``problems``).
"""

from runtimed.core.shapes.daemon import *
from runtimed.core.shapes.problems import *
from runtimed.core.shapes.runtimes import *
