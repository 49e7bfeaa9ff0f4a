"""Chaos on several real nodes and a real Redis."""
