"""DMARC (RFC 9989, and features that only RFC 7489 has): discovery of the policy for a message, and its evaluation."""
