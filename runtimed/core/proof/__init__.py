"""Tests a runtime with a tiny container: the container, its evidence, the interface of the programs that run it."""
