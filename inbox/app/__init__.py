"""L6: configuration, wiring and lifecycle."""
