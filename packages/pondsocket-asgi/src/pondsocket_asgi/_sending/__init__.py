"""Which `send` the messages of a connection take."""
