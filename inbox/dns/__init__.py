"""L2: questions to the DNS, and the one resolver that answers them from its cache."""
