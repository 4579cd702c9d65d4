"""IMAP grammar without I/O (RFC 3501 and the extensions that the server announces): bytes to commands and back."""
