"""L2: the DNS resolver of a process, and its interface."""
