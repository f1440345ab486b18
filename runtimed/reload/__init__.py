"""Replaces the current generation: plans, publishes, coalesces requests, waits for files to settle."""
