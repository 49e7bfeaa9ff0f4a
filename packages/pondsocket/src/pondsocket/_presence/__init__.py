"""What the members of a channel show of themselves."""
