"""runtimectl, as the package starts it."""

import sys

from runtimed.cli.ctl import main

sys.exit(main())
