"""Parses, checks and merges configuration files, and reports every problem with its place."""
