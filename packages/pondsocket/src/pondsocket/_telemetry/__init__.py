"""Hooks and metrics."""
