"""Reads and writes the files of engines, runs their programs, asks them, and finds their processes."""
