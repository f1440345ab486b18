"""The operating system, one module a subject; none of them imports another."""
