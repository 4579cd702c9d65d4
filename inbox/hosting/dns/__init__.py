"""The DNS records of a hosted domain: what they should be, and what the DNS shows."""
