"""Attachments in an object store: S3 and what is compatible with it, Azure Blob, Google Cloud Storage, by obstore."""
