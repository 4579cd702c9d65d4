"""Blob stores, implementations of the port ``inbox.store.ports.Blobs``: a local directory, and S3."""
