"""The frames around the text of a message, one file a transport."""
