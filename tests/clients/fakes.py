"""A server that says what a scenario tells it to, and a client that connects to it."""

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import anyio
from pondsocket_asgi.client import Client, Gap, Message, PondClientError, PresenceDiff, Room
from pondsocket_asgi.client._machine.errors import EVICTED, Ended, Refused
from pondsocket_asgi.client._machine.machine import Machine
from pondsocket_asgi.client._machine.values import (
    Changed,
    Failed,
    Joined,
    Over,
    Tell,
    TransportName,
)
from pondsocket_asgi.client._room import Sender
from pondsocket_asgi.client._transports import (
    Link,
    Received,
    Target,
    Transports,
    of_refused_post,
)
from pondsocket_common import GATEWAY, load_json


class FakeLink:
    """One attempt, and the connection that it may become."""

    def __init__(self, number: int, name: TransportName, target: Target) -> None:
        self.number = number
        self.name = name
        self.target = target
        self.sent: list[dict[str, Any]] = []
        self.posts: int | str = 204
        self.is_swallowing = False
        self.is_over = False
        self._said: deque[list[Received] | Ended | None] = deque()
        self._has_come = anyio.Event()

    def say(self, what: list[Received] | Ended | None) -> None:
        """Say messages, the end, or with None that it is open."""
        if not self.is_swallowing:
            self._said.append(what)
            self._has_come.set()

    async def heard(self) -> list[Received] | None:
        """Wait for the next of these."""
        while not self._said:
            self._has_come = anyio.Event()
            await self._has_come.wait()
        said = self._said.popleft()
        if isinstance(said, Ended):
            self.is_over = True
            raise said
        return said

    async def receive(self) -> list[Received]:
        """Return what the server says."""
        return await self.heard() or []

    async def send(self, texts: Sequence[bytes]) -> None:
        """Note what the client sends."""
        for text in texts:
            sent = load_json(text)
            assert isinstance(sent, dict)
            self.sent.append(sent)
        if self.is_swallowing and self.name == "sse":
            await anyio.sleep_forever()
        if self.name == "sse" and self.posts != 204:
            if self.posts == "hold":
                await anyio.sleep_forever()
            if self.posts == "fail":
                raise Ended(0, "the network has failed")
            raise of_refused_post(Refused(int(self.posts), "refused"))


class FakeTransports:
    """Opens what the scenario opens."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.open_links: set[int] = set()
        self.let_go: list[int] = []

    def open(self, name: TransportName, target: Target) -> AbstractAsyncContextManager[Link]:
        """Begin an attempt."""
        link = FakeLink(len(self.links) + 1, name, target)
        self.links.append(link)
        return self._opened(link)

    @asynccontextmanager
    async def _opened(self, link: FakeLink) -> AsyncIterator[Link]:
        self.open_links.add(link.number)
        try:
            await link.heard()
            yield link
        finally:
            if not link.is_over:
                self.let_go.append(link.number)
            self.open_links.discard(link.number)


class ScenarioClient(Client):
    """A client of the fake server that notes what an application would be told."""

    def __init__(self, random: float, **options: Any) -> None:
        self._random = random
        self.transports = FakeTransports()
        self.heard: list[dict[str, Any]] = []
        self.ended: dict[str, Room] = {}
        super().__init__("https://pond.test/socket", **options)

    def _new_machine(self, transports: Sequence[TransportName], *, has_token: bool) -> Machine:
        return Machine(transports, has_token=has_token, random=lambda: self._random)

    @asynccontextmanager
    async def _new_transports(self) -> AsyncIterator[Transports]:
        yield self.transports

    @property
    def machine(self) -> Machine:
        """What it decides by."""
        return self._driver.machine

    def sender(self, channel: str) -> Sender:
        """Return what sends events to a channel, joined or not."""
        return Sender(self._driver, channel)

    def _told(self, effect: Joined | Tell | Failed | Over | Changed) -> None:
        if isinstance(effect, Over) and effect.channel_name in self._rooms:
            self.ended[effect.channel_name] = self._rooms[effect.channel_name]
        super()._told(effect)
        for heard in _heard(effect):
            if not isinstance(effect, Changed) and effect.channel_name != GATEWAY:
                heard["channel"] = effect.channel_name
            self.heard.append(heard)


def _heard(effect: Joined | Tell | Failed | Over | Changed) -> Iterator[dict[str, Any]]:
    """Yield what the scenarios call it."""
    match effect:
        case Joined(recovered=None):
            yield {"is": "joined"}
        case Joined(recovered=recovered):
            yield {"is": "rejoined", "recovered": recovered}
        case Tell(event=Message(event=event, payload=payload)):
            yield {"is": "message", "event": event, "payload": dict(payload)}
        case Tell(event=PresenceDiff() as diff):
            lists = {"joins": diff.joins, "updates": diff.updates, "leaves": diff.leaves}
            yield {
                "is": "presence",
                **{name: [e.ref for e in entries] for name, entries in lists.items() if entries},
            }
        case Over(error=PondClientError() as error):
            if error.error == EVICTED:
                yield {"is": "evicted", "reason": error.message}
            else:
                yield {"is": "refused", "code": error.code}
        case Failed(error=error):
            yield {"is": "error", "code": error.code}
        case Tell(event=Gap()) | Over() | Changed():
            pass


request_ids = (f"server-{number}" for number in count(1))
