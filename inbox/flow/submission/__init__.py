"""Mail that users submit: their permission to send, and what is checked and completed in their messages."""
