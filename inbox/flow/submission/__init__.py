"""Submission: what users send (RFC 6409), their permission to send, and the checks and repairs of their messages."""
