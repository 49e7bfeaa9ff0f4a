"""A channel, its members, and what is sent to them."""
