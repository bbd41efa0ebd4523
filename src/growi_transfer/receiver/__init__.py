"""The destination's role: issues keys, stages what arrives, verifies, commits, rolls back."""
