"""The IMAP server: connections, sessions and commands (RFC 3501 and extensions)."""
