"""The command line: one short file per command; errors become exit codes in one place."""
