"""runtimed: the table of a node's OCI runtimes, as a daemon of its own.

The rooms, from the inside out:

- ``core``      pure values: configuration -> generation -> resolution
- ``host``      the operating system, one module a subject
- ``api``       the socket: connections, routes, permissions
- ``cli``       runtimectl
- ``client``    the Python client, which knows nothing of all this

What moves, and what follows from it:

- ``reloader``  the one mutable reference; ``turns`` the one lock, ``follower`` turns hints into reloads;
  ``heap`` lets a large table be built without the daemon standing still
- ``drift``, ``collector``, ``inspector``  what is looked at on the node besides: binaries, wrappers nobody needs
- ``announcer`` tells what happened: log, events, metrics; ``status`` says how the daemon is
- ``serving``   answers: what routes may ask (``service``), and the connections
- ``daemon``    the composition root, which alone knows them all; ``boot`` is how it starts, ``validate`` how it would
- ``streams``   opens the standard streams that daemon or runtimectl were started without

This module is imported by all of them, so it imports nothing.
"""

__version__ = "0.2.0"
