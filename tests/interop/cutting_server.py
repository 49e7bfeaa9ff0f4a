"""A server of event streams that restarts, and cuts, under every reader that comes to it.

The first GET of a run (`?run=`) meets a pond that drains. The second gets a stream that is cut in
the middle of a message. What is said then, and the message that was cut, the third has to bring.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

import anyio
from pondsocket import ConnectionContext, EventContext, History, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MESSAGES: Final = 6
CUT_IN: Final = b'"n":3,'
# Readers with `splitlines` must not cut it, and no page must be told of an error.
EVENTS: Final = ("error", "open", "message", "said", "ping", "close")
TEXT: Final = "a\u2028b\u2029c\x85d\u00a0e"


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=ctx.query.get("run"))


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()


async def start(ctx: EventContext) -> None:
    """Say all, each in a write of its own."""
    for number in range(1, MESSAGES + 1):
        await anyio.sleep(0.02)
        await ctx.broadcast(EVENTS[number - 1], {"n": number, "text": TEXT})


def make_pond(handler_grace: float = 5) -> PondSocket:
    pond = PondSocket(options=Options(handler_grace=handler_grace, sse_keepalive_seconds=0.2))
    endpoint = pond.create_endpoint("/socket", admit)
    endpoint.create_channel("/room/:run", enter, history=History()).on_message("start", start)
    return pond


# Without a grace for handlers, readers are told to come back in 1 to 4 s.
draining = make_pond(handler_grace=0)
draining.begin_drain()
drains: Final = PondASGIApp(draining)
serves: Final = PondASGIApp(make_pond())
came: Final[Counter[str]] = Counter()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http" or scope["method"] != "GET":
        await serves(scope, receive, send)
        return
    run = parse_qs(scope["query_string"].decode())["run"][0]
    came[run] += 1
    if came[run] == 1:
        await drains(scope, receive, send)
    elif came[run] == 2:
        await cut(scope, receive, send)
    else:
        await serves(scope, receive, send)


async def cut(scope: Message, receive: Receive, send: Send) -> None:
    """Serve a stream up to the middle of a message, and drop its connection."""
    ended = anyio.Event()

    async def send_until(message: Message) -> None:
        if ended.is_set():
            raise ConnectionResetError
        body = message.get("body", b"")
        if CUT_IN not in body:
            await send(message)
            return
        ended.set()
        half = body[: body.index(CUT_IN) + len(CUT_IN)]
        await send({**message, "body": half, "more_body": True})
        raise ConnectionResetError

    # The response has no end, so the server drops the connection.
    await serves(scope, receive, send_until)
