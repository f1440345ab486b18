"""runtimed: the table of a node's OCI runtimes, as a daemon of its own.

The rooms, from the inside out:

- ``core``      pure values: configuration -> generation -> resolution
- ``host``      the operating system, one module a subject
- ``api``       the socket: connections, routes, permissions
- ``cli``       runtimectl
- ``reloader``  the one mutable reference and the one lock
- ``daemon``    the composition root, which alone knows them all
- ``client``    the Python client

This module is imported by all of them, so it imports nothing.
"""

__version__ = "0.1.0"
