"""Redis as the engine of several nodes: `pip install "pondsocket[redis]"`."""

from ._backplane import RedisBackplane

__all__ = ["RedisBackplane"]
