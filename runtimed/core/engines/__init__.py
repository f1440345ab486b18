"""Translates between runtimed's configuration and that of dockerd and containerd, from values to values."""
