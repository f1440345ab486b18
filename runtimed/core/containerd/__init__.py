"""Speaks containerd's formats: options messages, shim names, the part of its API in use."""
