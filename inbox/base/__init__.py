"""L0: errors, limits, time and ids, independent of mail."""
