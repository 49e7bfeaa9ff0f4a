"""Fixtures for tests of several nodes: the engines, and the loops that fit them."""

from .engines import engine, loops_of_engines, redis_server, setting

__all__ = ["engine", "loops_of_engines", "redis_server", "setting"]
