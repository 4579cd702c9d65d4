"""DMARC aggregate reports (RFC 7489 §7.2, RFC 9990): outgoing and incoming. Bytes and values; no I/O."""
