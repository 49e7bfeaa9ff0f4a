"""The topics that a node hears, and the confirmations that it waits for."""

from collections.abc import Sequence
from typing import Final

import anyio

from pondsocket.backplane._interface import Topic

from ._keys import Keys
from ._link import Link

_TOPICS_A_COMMAND: Final = 512


class Subscriptions:
    """The topics of one node. Each new link subscribes to all of them."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._topics: dict[Topic, None] = {}
        self._waiting: dict[bytes, anyio.Event] = {}  # by pub/sub channel

    async def begin(self, link: Link) -> None:
        """Subscribe to all topics, on a new link."""
        await self._subscribe(link, [*self._topics])

    async def add(self, link: Link, topics: Sequence[Topic]) -> None:
        """Subscribe to topics; return once that is confirmed, or the link has ended."""
        self._topics.update(dict.fromkeys(topics))
        await self._subscribe(link, topics)

    async def _subscribe(self, link: Link, topics: Sequence[Topic]) -> None:
        channels = [self._keys.channel(topic) for topic in topics]
        for start in range(0, len(channels), _TOPICS_A_COMMAND):
            some = channels[start : start + _TOPICS_A_COMMAND]
            waiting = [self._waiting.setdefault(each.encode(), anyio.Event()) for each in some]
            link.send("SUBSCRIBE", *some)
            for each in waiting:
                await each.wait()

    def remove(self, topics: Sequence[Topic]) -> list[str]:
        """Forget topics. Return their pub/sub channels."""
        for topic in topics:
            self._topics.pop(topic, None)
        return [self._keys.channel(topic) for topic in topics]

    def confirm(self, channel: bytes) -> None:
        """Take a confirmation."""
        done = self._waiting.pop(channel, None)
        if done is not None:
            done.set()

    def end(self) -> None:
        """Let all go on that wait: the link has ended."""
        for each in self._waiting.values():
            each.set()
        self._waiting.clear()
