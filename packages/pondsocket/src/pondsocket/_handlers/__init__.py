"""What applications register: handlers, their parameters and their middleware."""
