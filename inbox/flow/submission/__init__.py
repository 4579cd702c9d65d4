"""Submission: accept mail from users who are logged in (RFC 6409)."""
