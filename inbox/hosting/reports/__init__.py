"""DMARC reports that hosted domains receive and send."""
