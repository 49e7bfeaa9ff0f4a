"""Peers that freeze while a little of what they were sent still stands in the server.

It is known to stand there: what the server was told to send, and what neither the system still
holds for the peer nor the peer's own system has taken, the server must have.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tests.integration.raw_clients import RawClient, socket_states, unacknowledged_bytes
from tests.integration.server_state import watch

# So that a message of which the system takes a part leaves less than 64 KiB in the server: if there
# was more, a write would hang.
_SIZE: Final = 60_000
# What a transport puts around a message, and what else is sent meanwhile, such as pings.
_UNSURE: Final = 500
# A system asks a peer without room again, after 0.2 s and then ever later. With an answer it may
# take a little more from the server.
_STILL_LOOKS: Final = 8
_LOOK_SECONDS: Final = 0.05
# Within so many looks a busy server has tried to write a message.
_LOOKS: Final = 60
_FREEZE_SECONDS: Final = 40.0
# On a busy machine a peer may have to answer a ping before it is frozen, and is ended for that.
_ATTEMPTS: Final = 5
_ESTABLISHED: Final = ["01"]

T = TypeVar("T")


class NotArranged(Exception):  # noqa: N818 - no server has a fault
    """Raised when a peer did not stay frozen with something left in the server until it ended."""


class FrozenPeer:
    """A member that reads no more."""

    def __init__(self, client: RawClient) -> None:
        client.stall()
        self.client: Final = client
        self._sent = self._taken()

    @property
    def socket_states(self) -> list[str]:
        """The states of the server's side of its connection; none: gone."""
        return socket_states(self.client.server, self.client.address)

    @property
    def left(self) -> int:
        """How much of what it was sent is still in the server, about."""
        return self._sent - self._taken()

    def _taken(self) -> int:
        """How much its system has taken, and the server's system for it."""
        client = self.client
        return client.unread_bytes + unacknowledged_bytes(client.server, client.address)

    def check(self) -> None:
        """Raise `NotArranged` if the systems have taken all that it was sent."""
        if self.left <= _UNSURE:
            raise NotArranged("all that the peer was sent has left the server")

    async def fill(self, member: RawClient, room: str) -> None:
        """Broadcast until its system takes no more.

        Raises:
            NotArranged: It has ended before.
        """
        async with asyncio.timeout(_FREEZE_SECONDS):
            while True:
                await member.send("BROADCAST", room, "say", {"size": _SIZE})
                said = await member.receive("said")
                self._sent += len(json.dumps(said, separators=(",", ":")))
                if await self._stays():
                    return

    async def _stays(self) -> bool:
        """Whether a part of what it was sent stays in the server.

        Raises:
            NotArranged: That cannot be known.
        """
        before, still = 0, 0
        for _ in range(_LOOKS):
            left = self.left
            # Also before it is gone: what it was not sent any more would count as left.
            if self.socket_states != _ESTABLISHED:
                raise NotArranged("the server ended the peer before it was frozen")
            if left <= _UNSURE:
                return False
            # Of a message for which the system has no room it takes a part.
            still = still + 1 if left == before and left < _SIZE - _UNSURE else 0
            if still == _STILL_LOOKS:
                return True
            before = left
            await asyncio.sleep(_LOOK_SECONDS)
            if not still:
                await watch(self.client.server)  # which answers when it has written what it could
        raise NotArranged("the system takes nothing of a message")


async def until_arranged(look: Callable[[], Awaitable[T]]) -> T:
    """Return what `look` does, which is called again where a peer did not stay frozen.

    Raises:
        NotArranged: It never did.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await look()
        except NotArranged:
            continue
    return await look()
