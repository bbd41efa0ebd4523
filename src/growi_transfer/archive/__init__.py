"""Zip archives and volumes. Knows bytes and documents, not MongoDB."""
