"""L2: passwords, and who an address belongs to."""
