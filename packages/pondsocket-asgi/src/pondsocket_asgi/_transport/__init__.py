"""The outlets of connections: how frames are written to a peer."""
