"""The process that files small messages, and its client."""
