"""What the headers of a request say."""
