"""One connection: what it sends, in which order that is handled, and its end."""
