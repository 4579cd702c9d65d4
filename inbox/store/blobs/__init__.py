"""Blob stores behind the port ``inbox.store.ports.Blobs``: a local directory, and S3."""
