"""Which topics the engine must send to this node. Pure."""

from typing import Final

from pondsocket.backplane import Topic

# A reload of a page, or a client that reconnects, must not cost two commands to the engine.
LINGER_SECONDS: Final = 1.0


class Interest:
    """The topics that are used here, and those that were used a moment ago."""

    __slots__ = ("_confirmed", "_idle_since", "_uses")

    def __init__(self) -> None:
        self._uses: dict[Topic, int] = {}
        self._idle_since: dict[Topic, float] = {}  # in the order in which their uses ended
        self._confirmed: set[Topic] = set()

    def enter(self, topic: Topic) -> bool:
        """Count one more use. Return whether the topic is new, so that it must be subscribed."""
        uses = self._uses.get(topic)
        self._uses[topic] = (uses or 0) + 1
        self._idle_since.pop(topic, None)
        return uses is None

    def leave(self, topic: Topic, now: float) -> None:
        """Count one use less."""
        self._uses[topic] -= 1
        if not self._uses[topic]:
            self._idle_since[topic] = now

    def confirm(self, topic: Topic) -> None:
        """Note that the engine has confirmed a subscription."""
        if topic in self._uses:
            self._confirmed.add(topic)

    def is_confirmed(self, topic: Topic) -> bool:
        """Return whether what is appended from now on reaches this node."""
        return topic in self._confirmed

    def take_idle(self, now: float) -> list[Topic]:
        """Forget the topics that were not used for a while. Return them, to be unsubscribed."""
        idle: list[Topic] = []
        for topic, since in self._idle_since.items():
            if since > now - LINGER_SECONDS:
                break
            idle.append(topic)
        for topic in idle:
            self.forget(topic)
        return idle

    def forget(self, topic: Topic) -> None:
        """Forget a topic: its subscription has failed, or is ended."""
        self._uses.pop(topic, None)
        self._idle_since.pop(topic, None)
        self._confirmed.discard(topic)

    def __contains__(self, topic: Topic) -> bool:
        return topic in self._uses
