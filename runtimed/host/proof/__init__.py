"""Runs the container of a test and removes its leftovers from the node."""
