"""The IMAP server: connections, sessions and what each command does (RFC 3501 and extensions)."""
