"""Peers that freeze while a little of what they were sent still stands in the server."""

import asyncio
from typing import Final

from tests.integration.raw_clients import RawClient, socket_states, unacknowledged_bytes

# So that a message of which the system takes a part leaves less than 64 KiB in the server: if there
# was more, a write would hang.
_SIZE: Final = 30_000
# A busy server may write to one member long after the other has heard it. If it is not waited for,
# all of it may lie with the system, which keeps the socket of such a peer for a minute.
_LOOKS: Final = 150
_LOOK_SECONDS: Final = 0.01


async def freeze(frozen: RawClient, member: RawClient, room: str) -> None:
    """Have a member read no more, and broadcast until its system takes no more."""
    frozen.stall()
    before = 0
    async with asyncio.timeout(40):
        while socket_states(frozen.server, frozen.address):
            await member.send("BROADCAST", room, "say", {"size": _SIZE})
            await member.receive("said")
            now = await _taken(frozen, before)
            # Of the first message the peer's own system takes some.
            if before and now - before < _SIZE / 2:
                return
            before = now


async def _taken(frozen: RawClient, before: int) -> int:
    """Return how much the system holds, when it has taken a message or had the time for it."""
    now = 0
    for _ in range(_LOOKS):
        now = unacknowledged_bytes(frozen.server, frozen.address)
        if now - before >= _SIZE / 2:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return now
