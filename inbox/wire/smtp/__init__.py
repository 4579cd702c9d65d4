"""SMTP and LMTP: grammar, the receiving side, replies."""
