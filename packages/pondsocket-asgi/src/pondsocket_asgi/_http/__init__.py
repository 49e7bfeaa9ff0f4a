"""HTTP requests: event streams and the messages that belong to them."""
