"""Members of the ponds in `ponds`: what they say, what they hear, and when all is settled."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from pondsocket import (
    Channel,
    LeaveContext,
    LeaveReason,
    ServerActions,
    ServerMessage,
    SystemEvents,
)
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Fault, Goodbye

from tests.core.ponds import ROOM, PondSetup


@asynccontextmanager
async def member(
    setup: PondSetup, user: str, name: str = ROOM, *, capacity: int = 100_000
) -> AsyncIterator[MemoryPeer]:
    """Yield a client that is connected and has joined; what that brought is received already."""
    async with connect(setup.pond, f"/socket?user={user}", capacity=capacity) as peer:
        answer = await peer.join(name)
        assert (answer.action, answer.event) == (ServerActions.SYSTEM, SystemEvents.ACKNOWLEDGE)
        peer.drain()
        yield peer


@asynccontextmanager
async def members(setup: PondSetup, *users: str) -> AsyncIterator[list[MemoryPeer]]:
    """Yield several members of one room, in the order in which they join."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(member(setup, user)) for user in users]


def many_members(setup: PondSetup, count: int) -> AbstractAsyncContextManager[list[MemoryPeer]]:
    """Yield so many members, `user0` and so on."""
    return members(setup, *(f"user{number}" for number in range(count)))


def say(peer: MemoryPeer, text: str, name: str = ROOM, event: str = "say") -> str:
    return peer.send("BROADCAST", name, event, {"text": text})


async def say_in_two_rooms(peer: MemoryPeer, event: str) -> None:
    """Join a second room; send an event to the first room, to the second and to the first again."""
    await peer.join("/room/2")
    for name in (ROOM, "/room/2", ROOM):
        say(peer, "", name, event)


def events(peer: MemoryPeer) -> list[str]:
    """Receive all, and return the names of its events."""
    return [message.event for message in peer.drain()]


def goodbyes(peer: MemoryPeer) -> list[Goodbye]:
    """Receive all, and return the payloads of the goodbyes among it."""
    return [m.payload for m in peer.drain() if isinstance(m.payload, Goodbye)]


async def answer_to_event(peer: MemoryPeer, event: str = "say") -> Fault | str:
    """Send an event; return RATE_LIMITED's payload, or the name of what came instead."""
    request_id = peer.send("BROADCAST", ROOM, event)
    message = await peer.receive()
    if isinstance(message.payload, Fault):
        assert message.request_id == request_id
        return message.payload
    return message.event


async def expect_refusals(peer: MemoryPeer, count: int) -> None:
    """Send so many events, each of which is over the rate."""
    for _ in range(count):
        assert isinstance(await answer_to_event(peer), Fault)


async def handled(peer: MemoryPeer, *names: str) -> None:
    """Send events to the room, and wait until a later one has been relayed."""
    for name in (*names, "say"):
        peer.send("BROADCAST", ROOM, name)
    await peer.receive_event("say")


def envelope_of(message: ServerMessage) -> tuple[str, str, str, str | None]:
    """Return what a message says besides its payload: action, event, channel name, request id."""
    return message.action, message.event, message.channel_name, message.request_id


def client_message(
    n: int, action: str = "BROADCAST", event: str = "say", **more: object
) -> dict[str, Any]:
    """Return a message of a client, as its JSON says it."""
    return {
        "action": action,
        "event": event,
        "channelName": ROOM,
        "requestId": f"r{n}",
        "payload": {},
        **more,
    }


def post_body(*messages: dict[str, Any]) -> bytes:
    """Return the body of a POST that holds these messages."""
    return json.dumps(messages).encode()


async def channel_of(setup: PondSetup, name: str = ROOM) -> Channel:
    """Return the live channel of this name."""
    channel = await setup.lobby.get_channel(name)
    assert channel is not None
    return channel


async def settled() -> None:
    """Wait until nothing can go on by itself."""
    # anyio's own way polls every 0.1 s on asyncio, so most of it is done before.
    for _ in range(30):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


class LeaveLog:
    """A leave handler that records its calls."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, LeaveReason]] = []

    async def __call__(self, ctx: LeaveContext) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append((ctx.user.id, ctx.reason))
