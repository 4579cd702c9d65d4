"""Worker process that writes small messages, and its client."""
