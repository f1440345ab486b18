"""Reads and writes the formats of containerd: options messages, names of shims, lists of containers."""
