"""What is remembered about keys, transfers, ranges, files and commit steps."""
