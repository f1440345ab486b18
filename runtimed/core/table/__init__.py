"""Computes the table: generations, answers, wrappers, resolution, lint."""
