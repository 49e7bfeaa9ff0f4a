"""Redis as the engine of several nodes. It needs the extra `redis`, which is hiredis."""

from ._backplane import RedisBackplane

__all__ = ["RedisBackplane"]
