"""L0: errors, limits, time and ids. Knows nothing of mail."""
