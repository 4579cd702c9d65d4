"""L2: sans-I/O grammar and rendering of the protocols."""
