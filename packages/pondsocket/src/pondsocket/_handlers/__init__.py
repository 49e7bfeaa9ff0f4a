"""What applications register: handlers and their middleware."""
