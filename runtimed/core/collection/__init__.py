"""Decides which wrappers may be removed, from the references to them."""
