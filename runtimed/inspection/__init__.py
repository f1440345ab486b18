"""Inspects the node: availability and drift of binaries, published files, references to wrappers."""
