"""L4: the life of a message."""
