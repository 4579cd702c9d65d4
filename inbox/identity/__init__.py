"""L2: passwords, and the directory of addresses."""
