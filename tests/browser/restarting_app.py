"""A page, and a pond that drains when the first stream comes; the next one meets another."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from pondsocket import ConnectionContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp

Message = MutableMapping[str, Any]


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept()
    ctx.reply("error", {"text": "is none"})
    ctx.reply("open", {})


def make_app() -> PondASGIApp:
    # Without a grace for handlers, readers are told to come back in 1 to 4 s.
    pond = PondSocket(options=Options(handler_grace=0))
    pond.create_endpoint("/socket", admit)
    return PondASGIApp(pond)


ending: Final = make_app()
ending.pond.begin_drain()
apps: Final = [ending, make_app()]


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    if scope["type"] == "http" and scope["path"] == "/":
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<!doctype html><title>A page</title>"})
        return
    is_stream = scope["type"] == "http" and scope["path"] == "/socket"
    await (apps.pop(0) if is_stream and len(apps) > 1 else apps[-1])(scope, receive, send)
