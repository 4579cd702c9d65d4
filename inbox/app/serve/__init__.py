"""The running server and its processes."""
