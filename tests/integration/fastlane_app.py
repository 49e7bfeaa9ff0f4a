"""What `test_fastlane.py` asks of a server: an ASGI app without any pond."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pondsocket_asgi.fastlane import DeflateProtocol
from pondsocket_common import websocket_frame

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# What is freed is freed by its references alone.
gc.disable()

connections: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
parsers: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
# uvicorn's, which have read the requests.
HTTP: Final = frozenset({"HttpToolsProtocol", "H11Protocol"})
awake: Final = asyncio.Event()
endings: Final[list[dict[str, Any]]] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a WebSocket; its path says how."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    note(receive)
    lane = scope["extensions"]["pondsocket.fastlane"]
    await PATHS[scope["path"]](lane, receive, send)
    note(receive)


def note(receive: Any) -> None:
    """Note the connection, and the parser if there is one."""
    protocol = receive.__self__
    connections.add(protocol)
    parsed = protocol if isinstance(protocol, DeflateProtocol) else protocol._successor
    if parsed is not None:
        parsers.add(parsed.conn)


async def echo(_lane: Any, receive: Receive, send: Send) -> None:
    """Send back what comes; close where "close" comes."""
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you say"})
        else:
            await send({**message, "type": "websocket.send"})
    endings.append(message)


async def mixed(lane: Any, receive: Receive, send: Send) -> None:
    """Answer a text by it and four numbers, over both ways."""
    while (message := await receive())["type"] == "websocket.receive":
        text = message["text"]
        for number in range(5):
            answer = f"{text} {number}"
            if number % 2:
                await send({"type": "websocket.send", "text": answer})
            else:
                assert lane.is_open
                lane.write(websocket_frame(answer.encode()))


async def flood(lane: Any, receive: Receive, send: Send) -> None:
    """Write until the lane closes, and again when it has opened; then tell how much it was."""
    await receive()
    written = 0
    while lane.is_open and written < 100_000_000:
        lane.write(websocket_frame(b"x" * 10_000))
        written += 10_000
    ending = asyncio.ensure_future(receive())
    while not lane.is_open:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    lane.write(websocket_frame(b"%d" % written))
    await ending


async def sleepy(_lane: Any, receive: Receive, send: Send) -> None:
    """Receive nothing until a client asks `wake`; then tell how many messages there were."""
    await awake.wait()
    count = 0
    while (message := await receive())["type"] == "websocket.receive":
        count += 1
        if message.get("text") == "last":
            await send({"type": "websocket.send", "text": str(count)})


async def wake(_lane: Any, receive: Receive, send: Send) -> None:
    """Let `sleepy` receive."""
    awake.set()
    await receive()


async def alive(_lane: Any, receive: Receive, send: Send) -> None:
    """Tell how many connections there are in memory, how many parsers, and what is of HTTP."""
    of_http = [each for each in gc.get_objects() if type(each).__name__ in HTTP]
    text = f"{len(connections)} {len(parsers)} {len(of_http)}"
    await send({"type": "websocket.send", "text": text})
    await receive()


async def told(_lane: Any, receive: Receive, send: Send) -> None:
    """Tell how the last connection to `echo` ended."""
    await send({"type": "websocket.send", "text": str(endings[-1])})
    await receive()


PATHS: Final = {
    f"/{path.__name__}": path for path in (echo, mixed, flood, sleepy, wake, alive, told)
}
