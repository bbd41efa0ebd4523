"""Move a whole GROWI wiki from one running instance to another, and prove that nothing is missing."""

__version__ = "0.1.0"
