"""Fixtures for tests of several nodes: the engines, and the loops that fit them."""

import pytest

from .engines import engine, loops_of_engines, redis_server, setting

__all__ = ["engine", "loops_of_engines", "redis_server", "setting"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=1, help="how many runs of chaos")
