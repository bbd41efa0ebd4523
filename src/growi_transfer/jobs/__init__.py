"""Background work: one runner that starts, watches and stops transfers."""
