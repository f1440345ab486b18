"""The daemons that these tests ask."""

from harness.client_fixtures import daemon, new_client, own_daemon, twice

__all__ = ["daemon", "new_client", "own_daemon", "twice"]
