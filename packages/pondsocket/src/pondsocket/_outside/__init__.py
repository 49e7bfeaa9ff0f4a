"""Sending from processes that serve no clients: scripts, scheduled jobs, task queues."""
