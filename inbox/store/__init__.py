"""L2: ports of the database and the blob store, and their implementations."""
