"""Litestar with its channels plugin, and the backend in memory."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import orjson
from litestar import Litestar, WebSocket, get, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect
from litestar.response import ServerSentEvent

from tests.benchmarks.apps.envelopes import answer


@websocket("/socket")
async def serve_socket(socket: WebSocket[Any, Any, Any], channels: ChannelsPlugin) -> None:
    """Serve one WebSocket."""
    await socket.accept()
    await socket.send_text(answer("CONNECT", "CONNECTION", {}, "GATEWAY", "0"))
    async with AsyncExitStack() as joined:
        try:
            while True:
                await take(await socket.receive_text(), socket, channels, joined)
        except WebSocketDisconnect:
            return


async def take(
    text: str, socket: WebSocket[Any, Any, Any], channels: ChannelsPlugin, joined: AsyncExitStack
) -> None:
    """Join, broadcast or echo."""
    request: dict[str, Any] = orjson.loads(text)
    channel, number = request["channelName"], request["requestId"]
    if request["action"] == "JOIN_CHANNEL":
        subscriber = await joined.enter_async_context(channels.start_subscription(channel))
        await joined.enter_async_context(subscriber.run_in_background(socket.send_text))
        await socket.send_text(answer("SYSTEM", "ACKNOWLEDGE", {}, channel, number))
    elif request["event"] == "echo":
        await socket.send_text(answer("SYSTEM", "echo", request["payload"], channel, number))
    else:
        heard = answer("BROADCAST", request["event"], request["payload"], channel, number)
        channels.publish(heard, channel)


@get("/sse/{channel:path}")
async def serve_stream(channel: str, channels: ChannelsPlugin) -> ServerSentEvent:
    """Serve one event stream, which is a member from its beginning to its end."""
    return ServerSentEvent(said_in(channel, channels))


async def said_in(channel: str, channels: ChannelsPlugin) -> AsyncGenerator[bytes, None]:
    """Yield the messages of a stream."""
    async with channels.start_subscription(channel) as subscriber:
        yield answer("SYSTEM", "ACKNOWLEDGE", {}, channel, "0")
        async for heard in subscriber.iter_events():
            yield heard


app = Litestar(
    route_handlers=[serve_socket, serve_stream],
    plugins=[ChannelsPlugin(backend=MemoryChannelsBackend(), arbitrary_channels_allowed=True)],
    # No page of API documentation, and no log of refused requests.
    openapi_config=None,
    logging_config=None,
)
