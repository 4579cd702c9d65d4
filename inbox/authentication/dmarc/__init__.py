"""DMARC (RFC 9989, and what RFC 7489 had besides): the policy that applies to a message, and its evaluation."""
