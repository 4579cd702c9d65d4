"""The DNS records of a hosted domain: the wanted ones and the published ones."""
