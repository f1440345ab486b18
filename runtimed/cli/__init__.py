"""Command-line tools; they talk to the daemon through the client only."""
