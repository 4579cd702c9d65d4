"""Sending by programs: a request with fields becomes a message, which submission judges and queues."""
