"""What a pond serves: its phases, its endpoints by path, the requests of event streams."""
