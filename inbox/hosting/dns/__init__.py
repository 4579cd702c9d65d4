"""The DNS records of a hosted domain: the wanted ones, and those in the DNS."""
