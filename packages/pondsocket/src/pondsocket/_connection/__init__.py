"""One connection: its messages, their order, their limits, and its end."""
