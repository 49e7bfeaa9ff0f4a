"""What is measured: each scenario plays, sees that each operation happened once, and counts."""
