"""L5: sockets."""
