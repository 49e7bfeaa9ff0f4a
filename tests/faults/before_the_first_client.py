"""A thread publishes into a channel with a history before the first client has connected.

The pond is mounted without lifespan. What it publishes is kept, as that of `await broadcast` is.
"""

import asyncio
import sys

from pondsocket import ChannelHandle, ConnectionContext, History, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver


def build() -> tuple[PondSocket, ChannelHandle]:
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext) -> None:
        ctx.accept()

    @endpoint.channel("/news", history=History(size=10))
    async def news(ctx: JoinContext) -> None:
        await ctx.accept(history=10)

    return pond, pond.channel("/socket", "/news")


async def heard(pond: PondSocket, count: int) -> list[object]:
    """Return what the first client gets when it joins."""
    session = await ASGITestDriver(PondASGIApp(pond)).connect_websocket("/socket")
    await session.send_client_message(action="JOIN_CHANNEL", channel_name="/news", event="join")
    await session.receive_event_named("ACKNOWLEDGE")
    payloads = [(await session.receive_event_named("news"))["payload"]["n"] for _ in range(count)]
    await session.disconnect()
    return payloads


async def main() -> list[str]:
    pond, room = build()

    def publish() -> None:
        for n in range(3):
            room.broadcast_nowait("news", {"n": n})

    await asyncio.to_thread(publish)
    room.broadcast_nowait("news", {"n": 3})
    await room.broadcast("news", {"n": 4})
    try:
        kept = await heard(pond, 5)
    except AssertionError as missing:
        return [str(missing)[:200]]
    return [] if kept == list(range(5)) else [f"the first client gets {kept}"]


if __name__ == "__main__":
    found = asyncio.run(main())
    print("FAIL " + "; ".join(found) if found else "ok what came before the first client is kept")
    sys.exit(bool(found))
