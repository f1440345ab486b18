"""The daemon, as the package starts it."""

import sys

from runtimed.__main__ import main

sys.exit(main())
