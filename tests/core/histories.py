"""What the tests of histories have in common: a pond whose rooms keep what is said."""

import time
from collections.abc import Callable
from typing import Any

from pondsocket import History, Options, PondSocket, Position, ServerMessage
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged

from tests.core.ponds import ROOM, PondSetup, accept_join, admit, relay


def build_with_history(
    join: Any = accept_join,
    clock: Callable[[], float] = time.monotonic,
    pond_options: Options | None = None,
    **options: int,
) -> PondSetup:
    """Return a pond whose rooms keep what is said."""
    pond = PondSocket(options=pond_options, clock=clock)
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", join, history=History(**options))
    lobby.on_message("say", relay)
    return PondSetup(pond, endpoint, lobby)


async def say(setup: PondSetup, *numbers: int, **options: Any) -> None:
    for number in numbers:
        await setup.pond.channel("/socket", ROOM).broadcast("said", {"n": number}, **options)


def heard(peer: MemoryPeer) -> list[object]:
    """Receive all, and return the numbers that were said, or the events' names."""
    return [said(message) for message in peer.drain()]


def said(message: ServerMessage) -> object:
    payload = message.payload
    return payload.get("n", message.event) if isinstance(payload, dict) else message.event


async def position_of(setup: PondSetup) -> Position:
    """Return the position of the last message."""
    async with connect(setup.pond, "/socket?user=reader") as peer:
        payload = (await peer.join(ROOM)).payload
    assert isinstance(payload, Acknowledged)
    assert payload.epoch is not None
    assert payload.offset is not None
    return Position(payload.epoch, payload.offset)


def reconnect(setup: PondSetup, user: str = "ann", capacity: int = 100_000) -> Any:
    return connect(setup.pond, f"/socket?user={user}", capacity=capacity)


async def rejoin(peer: MemoryPeer, since: Position, **more: Any) -> ServerMessage:
    """Join at a position, and return the acknowledgement; what else has come is unread."""
    peer.drain()
    return await peer.join(ROOM, since=since, **more)
