"""The scenarios: each runs, checks that each operation happened once, and counts."""
