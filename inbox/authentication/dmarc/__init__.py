"""DMARC (RFC 9989, and what RFC 7489 had besides): whose policy applies to a message, and whether it fulfils it."""
