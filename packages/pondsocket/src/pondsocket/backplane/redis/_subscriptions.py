"""The topics that a node hears."""

from collections.abc import Sequence
from typing import Final

from pondsocket.backplane._interface import SEPARATOR, Topic

from ._keys import Keys
from ._link import Link

_TOPICS_A_COMMAND: Final = 512
# Nothing is sent to it. Each link begins with it, so that a user without channels is told then.
_NO_TOPIC: Final = SEPARATOR


class Subscriptions:
    """The topics of one node. Each new link subscribes to all of them."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._topics: dict[Topic, None] = {}

    async def begin(self, link: Link) -> None:
        """Subscribe to all topics, on a new link.

        Raises:
            ReplyError: Redis refuses it.
            LinkLost: The link has ended.
        """
        topics = [_NO_TOPIC, *self._topics]
        await self._subscribe(link, topics)
        ended = [each for each in topics[1:] if each not in self._topics]
        if ended:  # meanwhile
            link.unsubscribe(self.remove(ended))

    async def add(self, link: Link, topics: Sequence[Topic]) -> None:
        """Subscribe to topics; return once that is confirmed.

        Raises:
            ReplyError: Redis refuses it.
            LinkLost: The link has ended. The next one subscribes to them.
        """
        self._topics.update(dict.fromkeys(topics))
        await self._subscribe(link, topics)

    async def _subscribe(self, link: Link, topics: Sequence[Topic]) -> None:
        channels = [self._keys.channel(topic) for topic in topics]
        for start in range(0, len(channels), _TOPICS_A_COMMAND):
            await link.subscribe(channels[start : start + _TOPICS_A_COMMAND])

    def remove(self, topics: Sequence[Topic]) -> list[str]:
        """Forget topics. Return their pub/sub channels."""
        for topic in topics:
            self._topics.pop(topic, None)
        return [self._keys.channel(topic) for topic in topics]
