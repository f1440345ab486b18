"""Runs the container of a test and removes what it leaves on the node."""
