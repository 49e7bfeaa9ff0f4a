"""What a client decides, without I/O, tasks or a clock."""
