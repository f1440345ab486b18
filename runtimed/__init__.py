"""Serves the table of a node's OCI runtimes to container engines, from configuration files that can be reloaded.

``core`` is pure: configuration -> generation -> resolution. ``host`` is the operating system, one module for each
subject. ``reload`` replaces the current generation. ``inspection`` looks at the node's binaries and wrappers. ``api``
is the socket: connections, routes, permissions. ``daemon`` composes these and is the process. ``client`` is the Python
client, and ``cli`` is runtimectl; ``streams`` opens missing standard streams for both programs.

All other modules import this one, so it imports nothing.
"""

__version__ = "0.2.0"
