"""What the apps of several workers share: where Redis is, and publishing many messages."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

# Where Redis is; without it, the server is the only one.
REDIS: Final = os.environ.get("BENCHMARK_REDIS")


async def burst(
    asked: Mapping[str, Any], publish: Callable[[dict[str, str]], Awaitable[Any]]
) -> None:
    """Publish `count` messages, by `at_once` tasks that await each of theirs."""
    left, said = iter(range(asked["count"])), {"text": asked["text"]}

    async def take_part() -> None:
        for _ in left:
            await publish(said)

    await asyncio.gather(*(take_part() for _ in range(asked["at_once"])))
