"""Construction of the program from its configuration."""
