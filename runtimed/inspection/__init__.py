"""Looks at the node: drift of binaries and published files, references, availability."""
