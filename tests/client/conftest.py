"""Fixtures: the daemons of these tests."""

from harness.client_fixtures import daemon, new_client, own_daemon, twice

__all__ = ["daemon", "new_client", "own_daemon", "twice"]
