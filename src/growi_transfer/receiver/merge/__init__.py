"""The preset `merge`: the source's documents put beside the destination's, in copies, before a commit swaps them in."""
