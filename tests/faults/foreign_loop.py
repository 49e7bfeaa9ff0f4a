"""`asyncio.run(room.broadcast(...))` and Django's `async_to_sync(room.broadcast)(...)` in a thread.

They run in an event loop that is not the pond's: each is refused with the name of the right call,
nothing of it is sent, and the connection goes on.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from pondsocket import ChannelHandle, ConnectionContext, JoinContext, PondSocket, UsageError
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, WebSocketSession

try:
    from asgiref.sync import async_to_sync
except ImportError:
    print("skip asgiref is not installed")
    sys.exit(0)

Call = Callable[[PondSocket, ChannelHandle], Awaitable[object]]
CALLS: dict[str, tuple[Call, str]] = {
    "broadcast": (lambda _, room: room.broadcast("x", {}), "broadcast_nowait"),
    "broadcast_to": (lambda _, room: room.broadcast_to("x", {}, "ann"), "broadcast_to_nowait"),
    "evict_user": (lambda _, room: room.evict_user("ann"), "run_coroutine_threadsafe"),
    "user_count": (lambda _, room: room.user_count(), "run_coroutine_threadsafe"),
    "disconnect": (lambda pond, _: pond.disconnect(user_id="ann"), "run_coroutine_threadsafe"),
}


def build() -> PondSocket:
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext) -> None:
        ctx.accept(user_id="ann")

    @endpoint.channel("/chat")
    async def chat(ctx: JoinContext) -> None:
        await ctx.accept()

    return pond


async def tried(name: str, run: Callable[[Any], object]) -> str | None:
    pond = build()
    call, words = CALLS[name]
    room = pond.channel("/socket", "/chat")
    session: WebSocketSession = await ASGITestDriver(PondASGIApp(pond)).connect_websocket("/socket")
    await session.send_client_message(action="JOIN_CHANNEL", channel_name="/chat", event="join")
    await session.receive_event_named("ACKNOWLEDGE")

    async def foreign() -> object:
        return await call(pond, room)

    try:
        result = await asyncio.to_thread(run, foreign)
    except UsageError as error:
        fault = None if words in str(error) else f"{name}: {error}"
    else:
        fault = f"{name}: returned {result!r}"
    room.broadcast_nowait("after", {})
    message = await session.receive_json()
    await session.disconnect()
    return fault if message["event"] == "after" else f"{name}: {message['event']} was sent"


async def main() -> list[str]:
    ways: list[Callable[[Any], object]] = [
        lambda foreign: asyncio.run(foreign()),
        lambda foreign: async_to_sync(foreign)(),
    ]
    faults = [await tried(name, run) for name in CALLS for run in ways]
    return [fault for fault in faults if fault is not None]


if __name__ == "__main__":
    found = asyncio.run(main())
    print("FAIL " + "; ".join(found) if found else "ok calls from a foreign loop are refused")
    sys.exit(bool(found))
