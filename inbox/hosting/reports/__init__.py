"""Reports about mail that hosted domains receive and owe."""
