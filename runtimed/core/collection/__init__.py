"""Finds references to wrappers, and decides which wrappers may be collected."""
