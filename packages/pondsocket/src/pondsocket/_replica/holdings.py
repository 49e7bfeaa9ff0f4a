"""What this node has put into the engine, to be put again if the engine forgets it. Pure."""

from collections.abc import Iterable, Iterator

from pondsocket.backplane import Put, Topic


class Holdings:
    """The memberships of this node, by topic and ref."""

    __slots__ = ("_by_topic",)

    def __init__(self) -> None:
        self._by_topic: dict[Topic, dict[str, Put]] = {}

    def put(self, put: Put) -> None:
        """Note a membership, or what it shows now."""
        self._by_topic.setdefault(put.topic, {})[put.ref] = put

    def drop(self, topic: Topic, refs: Iterable[str]) -> None:
        """Forget memberships that have ended."""
        held = self._by_topic.get(topic)
        if held is None:
            return
        for ref in refs:
            held.pop(ref, None)
        if not held:
            del self._by_topic[topic]

    def of(self, topic: Topic) -> list[Put]:
        """Return the memberships of one topic."""
        return [*self._by_topic.get(topic, {}).values()]

    def __iter__(self) -> Iterator[Put]:
        for held in [*self._by_topic.values()]:
            yield from [*held.values()]

    def __len__(self) -> int:
        return sum(map(len, self._by_topic.values()))
