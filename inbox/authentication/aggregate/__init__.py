"""DMARC aggregate reports (RFC 7489 §7.2, RFC 9990): ours to others and others' to us. Bytes and values; no I/O."""
