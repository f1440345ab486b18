"""Values in, values out: no I/O, no clock, no logging (a test reads the imports)."""
