"""What the app shares with its server and the system: signals, sockets, logs."""
