"""Handlers that end the connection, the user or the pond that they belong to, and await that."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from pondsocket import EventContext, GatewayContext, JoinContext, LeaveContext, PondSocket
from pondsocket.testing import connect

from tests.faults._outcome import end
from tests.faults._rooms import Rooms, build

MOST_SECONDS: Final = 2.0

CALLS: Final[dict[str, Callable[[Rooms], Awaitable[None]]]] = {
    "pond.disconnect": lambda rooms: rooms.pond.disconnect(user_id="ann"),
    "close_connection": lambda rooms: rooms.endpoint.close_connection("ann"),
    "pond.close": lambda rooms: rooms.pond.close(),
    "pond.drain": lambda rooms: rooms.pond.drain(0.1),
}


def register(kind: str, rooms: Rooms, act: Callable[[], Awaitable[None]], left: list[str]) -> None:
    """Let the handler of one kind end what it belongs to."""

    async def event(ctx: EventContext | GatewayContext) -> None:
        await act()

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        if kind == "join":
            await act()

    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.reason)
        if kind == "leave":
            await act()

    lobby = rooms.endpoint.create_channel("/other", join)
    lobby.on_leave(leave)
    if kind == "event":
        lobby.on_message("end", event)
    elif kind == "gateway":
        rooms.endpoint.on_message("end", event)


async def fault_of(kind: str, call: str) -> str | None:
    rooms, took, left = build(), [0.0], list[str]()
    is_over = asyncio.Event()

    async def act() -> None:
        began = time.monotonic()
        try:
            await CALLS[call](rooms)
        finally:
            took.append(time.monotonic() - began)
            is_over.set()

    register(kind, rooms, act, left)
    began = time.monotonic()
    async with asyncio.timeout(20):
        await use(rooms.pond, kind, is_over)
        await is_over.wait()
    slowest = max(*took, time.monotonic() - began)
    if slowest > MOST_SECONDS:
        return f"{kind}, {call}: it took {slowest:.1f} s"
    return None if len(left) == 1 else f"{kind}, {call}: on_leave ran {len(left)} times"


async def use(pond: PondSocket, kind: str, is_over: asyncio.Event) -> None:
    async with connect(pond, "/socket") as ann:
        await ann.join("/other")
        if kind in ("event", "gateway"):
            ann.send("BROADCAST", "/other" if kind == "event" else "GATEWAY", "end")
        if kind != "leave":
            await is_over.wait()


async def main() -> list[str]:
    kinds = ("event", "gateway", "join", "leave")
    each = await asyncio.gather(*(fault_of(kind, call) for kind in kinds for call in CALLS))
    return [fault for fault in each if fault is not None]


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    end(asyncio.run(main()), "what would wait for itself ends at once")
