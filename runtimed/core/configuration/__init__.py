"""Turns the bytes of configuration files into values, with every problem and its place."""
