"""Moves the table from one generation to the next."""
