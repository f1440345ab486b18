"""Builds the table of runtimes: generations, resolutions, wrappers, availability, lints."""
