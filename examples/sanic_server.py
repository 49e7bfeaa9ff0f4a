"""PondSocket on Sanic's own server: one route serves WebSockets and event streams at `/ws/socket`.

Run it with `sanic examples.sanic_server:site --single-process`. (Each of several workers would have
channels of its own.)

`Exchange` is all that there is between Sanic and an ASGI application. Sanic cannot add headers to
an accepted WebSocket, so what `ctx.set_header` and `ctx.set_cookie` say is not sent with one.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from sanic import HTTPResponse, Request, Sanic, text
from sanic.compat import Header
from sanic.exceptions import RequestCancelled, ServerError, WebsocketClosed

MOUNT = "/ws"


async def connect(ctx: ConnectionContext) -> None:
    """Accept every client; check `ctx.query`, `ctx.headers` or `ctx.cookies` to refuse some."""
    ctx.accept()


async def join(ctx: JoinContext) -> None:
    """Let the client join any room, and show its presence to the other members."""
    await ctx.accept()
    await ctx.track({"status": "online"})


async def say(ctx: EventContext) -> None:
    """Broadcast a message to every member of the room."""
    await ctx.broadcast("message", ctx.get_payload())


pond = PondSocket()
rooms = pond.create_endpoint("/socket", connect).create_channel("/chat/:room_id", join)
rooms.on_message("message", say)
pond_app = PondASGIApp(pond, drain_on_signals=False)  # `close` below tells the clients

Message = MutableMapping[str, Any]


def scope_of(request: Request) -> Message:
    """Return a request of Sanic as an ASGI scope."""
    is_websocket = request.headers.get("upgrade", "").lower() == "websocket"
    offered = ",".join(request.headers.getall("sec-websocket-protocol", []))
    return {
        "type": "websocket" if is_websocket else "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.version,
        "method": request.method,
        "scheme": request.scheme,
        "path": unquote(request.path),
        "raw_path": request.path.encode(),
        "root_path": MOUNT,
        "query_string": request.query_string.encode(),
        "headers": [
            (name.lower().encode(), value.encode(errors="surrogateescape"))
            for name, value in request.headers.items()
        ],
        "client": (request.ip, request.port),
        "subprotocols": [name.strip() for name in offered.split(",") if name.strip()],
        "extensions": {"websocket.http.response": {}},
    }


class Exchange:
    """The `receive` and `send` of one request."""

    def __init__(self, request: Request, scope: Message) -> None:
        self._request = request
        self._stream: Any = request.stream
        self._kind: str = scope["type"]
        self._is_begun = False
        self._is_read = False
        self._has_gone = False
        self._reading: asyncio.Future[Message] | None = None
        self._websocket: Any = None
        self._response: Any = None

    def leave(self) -> None:
        """Note that the client has gone."""
        self._has_gone = True
        if self._reading is not None:
            self._reading.cancel()

    async def receive(self) -> Message:
        """Return the next message of the client."""
        if not self._has_gone:
            self._reading = asyncio.ensure_future(self._next())
            try:
                return await self._reading
            except (asyncio.CancelledError, WebsocketClosed):
                # Sanic cancels who waits for a message of a WebSocket that ends.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
        code = None if self._websocket is None else self._websocket.ws_proto.close_code
        return {"type": f"{self._kind}.disconnect", "code": code or 1006}

    async def _next(self) -> Message:
        if self._kind == "websocket":
            if not self._is_begun:
                self._is_begun = True
                return {"type": "websocket.connect"}
            data = await self._websocket.recv()
            return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}
        if not self._is_read:
            chunk = await self._stream.read()
            self._is_read = chunk is None
            return {"type": "http.request", "body": chunk or b"", "more_body": not self._is_read}
        await asyncio.Event().wait()  # until `leave`
        raise AssertionError

    async def send(self, message: Message) -> None:
        """Write a message of the application."""
        try:
            await self._write(message)
        except (RequestCancelled, WebsocketClosed, ServerError) as error:
            raise ConnectionError("The client has gone.") from error

    async def _write(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                chosen = message.get("subprotocol")
                protocol: Any = self._request.transport.get_protocol()
                self._websocket = await protocol.websocket_handshake(
                    self._request, None if chosen is None else [chosen]
                )
            case "websocket.send":
                text = message.get("text")
                await self._websocket.send(message["bytes"] if text is None else text)
            case "websocket.close":
                await self._websocket.close(message["code"], message["reason"])
            case "http.response.start" | "websocket.http.response.start":
                named = [
                    (name.decode(), value.decode(errors="surrogateescape"))
                    for name, value in message["headers"]
                ]
                self._response = await self._request.respond(
                    status=message["status"], headers=Header(named)
                )
            case "http.response.body" | "websocket.http.response.body":
                is_last = not message.get("more_body", False)
                await self._response.send(message["body"], end_stream=is_last)


site = Sanic("site")
site.enable_websocket()
site.config.WEBSOCKET_MAX_SIZE = 65_536


@site.get("/")
async def home(request: Request) -> HTTPResponse:
    """Serve a page of the site."""
    return text("The rooms are at /ws/socket.")


async def realtime(request: Request, path: str) -> None:
    """Pass everything below /ws to the pond."""
    scope = scope_of(request)
    exchange = Exchange(request, scope)
    call = asyncio.ensure_future(pond_app(scope, exchange.receive, exchange.send))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:  # the client has gone, or the server stops
        exchange.leave()
        await call
        raise


vars(realtime)["is_websocket"] = True  # or Sanic wants a response, which a WebSocket has not
# `stream`: the pond reads the bodies, within its own limits.
methods = ["GET", "POST", "DELETE", "OPTIONS"]
site.add_route(realtime, f"{MOUNT}/<path:path>", methods=methods, stream=True)


@site.before_server_stop
async def close(app: Sanic[Any, Any]) -> None:
    """Tell all clients, and let the leave handlers run."""
    await pond.close()
