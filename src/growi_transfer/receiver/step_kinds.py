"""The kinds of steps in the journal of a commit."""

from __future__ import annotations

DROP_VIEW, SWAP, CREATE_VIEW, TTL, RULES, FILES = "drop_view", "swap", "create_view", "ttl", "rules", "files"
MERGED, UNCHANGED, TIDY = "merged", "unchanged", "tidy"
"""Of a merge: what it did; whether the wiki was written to meanwhile; what is left over goes."""
