"""The names of keys and of pub/sub channels. Pure.

All begin with `{prefix:0}:`. The braces make them one slot of a Redis cluster, because a script may
only use keys of one slot. There is one such partition, 0.
"""

from typing import NamedTuple

from pondsocket.backplane._interface import Topic


class TopicKeys(NamedTuple):
    """The keys of one topic, in the order in which scripts take them."""

    meta: str
    log: str
    entries: str
    users: str


class Keys:
    """The names of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._start = f"{{{prefix}:0}}:"
        self.run = f"{self._start}run"
        self.nodes = f"{self._start}nodes"
        self.heard = f"{self._start}heard"
        self.secret = f"{self._start}key"
        self.application = f"{self._start}app"

    def of(self, topic: Topic) -> TopicKeys:
        """Return the keys of a topic."""
        start = self._start
        return TopicKeys(
            f"{start}m:{topic}", f"{start}l:{topic}", f"{start}e:{topic}", f"{start}u:{topic}"
        )

    def once(self, topic: Topic, once: str) -> str:
        """Return the key of a message that is appended once."""
        return f"{self._start}o:{len(topic)}:{topic}:{once}"  # both may hold colons

    def seq(self, node: str) -> str:
        """Return the key of a node's latest operations."""
        return f"{self._start}s:{node}"

    def held(self, lease: str) -> str:
        """Return the key of what is held under a lease."""
        return f"{self._start}r:{lease}"

    def channel(self, topic: Topic) -> str:
        """Return the pub/sub channel of a topic."""
        return f"{self._start}t:{topic}"

    def topic(self, channel: str) -> Topic:
        """Return the topic of a pub/sub channel."""
        return channel[len(self._start) + 2 :]
