"""A chat: rooms, names and who is here, over WebSocket or server-sent events.

Run it with `python examples/chat.py` and open the address it prints in two windows. On several
processes or machines it needs a Redis: `CHAT_REDIS=redis://127.0.0.1 uvicorn --workers 2 …`.
"""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import uvicorn
from pondsocket import (
    ConnectionContext,
    Endpoint,
    EventContext,
    History,
    JoinContext,
    Options,
    PondError,
    PondSocket,
)
from pondsocket.backplane import Backplane
from pondsocket_asgi import PondASGIApp, QuietRefusals, RedactSecrets

NAME_LIMIT = 24
ROOM_LIMIT = 40
TEXT_LIMIT = 2000
KEY_LIMIT = 64
# The pond's own limit (Options.max_message_bytes). The server needs it too, because it passes on
# whole messages only; uvicorn's default is 16 MiB.
MESSAGE_LIMIT = 65_536
# 300: as many as one join may recover. An hour: as long as a tunnel, a lift or a lunch.
HISTORY = History(size=300, ttl=3600)
EARLIER = 20  # messages of it that a newcomer gets
# A user who loses the connection and reconnects within this time is never shown as gone.
AWAY_SECONDS = 10.0
TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
}
# The page's files by their paths. The client that it imports comes from PondASGIApp.
PAGE = {
    "/" if path.suffix == ".html" else f"/{path.name}": (path.read_bytes(), TYPES[path.suffix])
    for path in Path(__file__).parent.glob("chat*.*")
    if path.suffix in TYPES
}
# No script or style but the page's own files, and no connection but to where it comes from: text
# that a mistake in the page showed as HTML could do nothing.
CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

# Any: the ASGI specification gives the values of these dictionaries no narrower type.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


async def enter(ctx: ConnectionContext) -> None:
    """Accept a client with a usable name, and derive its user id from its key."""
    name = " ".join((ctx.query.get("name") or "").split())
    key = ctx.query.get("key") or ""
    if not name:
        ctx.decline(400, "Please say what your name is.")
    elif len(name) > NAME_LIMIT:
        ctx.decline(400, f"That name is too long: {NAME_LIMIT} characters are the most.")
    elif not name.isprintable():
        ctx.decline(400, "That name holds characters that cannot be shown.")
    elif len(key) > KEY_LIMIT:
        ctx.decline(400, "This page's key is too long; please reload the page.")
    else:
        # A name identifies no user: two people called Ann are two people. The key does: the page
        # made it up at random, and a client that reconnects with it is the same user. The other
        # members see only a digest of it.
        user = blake2b(f"{name}\n{key}".encode(), digest_size=12).hexdigest() if key else None
        ctx.accept(name=name, user=user or ctx.user_id, user_id=user)


async def say(ctx: EventContext) -> None:
    """Broadcast a message to the room, with the author and the time as the server knows them."""
    payload = ctx.get_payload()
    text, key = payload.get("text"), payload.get("key")
    if not isinstance(text, str) or not text.strip():
        raise PondError("There is nothing in this message.")
    if len(text) > TEXT_LIMIT:
        raise PondError(f"Too long: {TEXT_LIMIT} characters are the most.")
    if not isinstance(key, str) or not 0 < len(key) <= KEY_LIMIT:
        raise PondError("This message has no key; please reload the page.")
    said = {
        # The sender's own random key: it tells the sender's page that the message has arrived, and
        # lets every page drop the second copy of a message sent again after a reconnect.
        "key": key,
        "text": text.strip(),
        "user": await ctx.get_assign("user"),
        "name": await ctx.get_assign("name"),
        "time": now(),
    }
    await ctx.broadcast("message", said)


async def tell_typing(ctx: EventContext) -> None:
    """Tell the others that the member is typing. It is of no use later: it is not kept."""
    typist = {"user": await ctx.get_assign("user"), "name": await ctx.get_assign("name")}
    await ctx.broadcast_from("typing", typist, history=False)


def now() -> str:
    """Return the server's time as text; the clock of a page may be wrong."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def open_rooms(endpoint: Endpoint, history: History | None) -> None:
    """Serve the rooms, with a history or, if it is None, without."""

    async def join(ctx: JoinContext) -> None:
        """Let the client join the room, and show its user to every member."""
        room = ctx.route.params["room"]
        if len(room) > ROOM_LIMIT or not room.isprintable():
            message = f"A room's name has at most {ROOM_LIMIT} visible characters."
            await ctx.decline(400, message)
            return
        # A client that was away gets what it missed, or is told that it cannot have it; a client
        # that is new, or has missed too much, gets the latest messages.
        latest = None if history is None else EARLIER
        await ctx.accept(history=latest, response={"time": now()})
        user, name = await ctx.get_assign("user"), await ctx.get_assign("name")
        await ctx.track({"user": user, "name": name})

    rooms = endpoint.create_channel("/chat/:room", join, history=history)
    rooms.on_message("message", say)
    rooms.on_message("typing", tell_typing)


def create_app(history: History | None, backplane: Backplane | None = None) -> App:
    """Return an app that serves the page at `/`, and the pond everywhere else."""
    # gc_freeze: this process does nothing else, and makes no garbage in cycles.
    options = Options(presence_leave_delay=AWAY_SECONDS, gc_freeze=True)
    pond = PondSocket(options=options, backplane=backplane)
    open_rooms(pond.create_endpoint("/socket", enter), history)
    # On SIGTERM and Ctrl-C it tells every client before the server stops.
    pond_app = PondASGIApp(pond)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"] in PAGE
        if is_page and scope["method"] in ("GET", "HEAD"):
            await serve_page(scope, send)
        else:
            await pond_app(scope, receive, send)

    return app


async def serve_page(scope: Message, send: Send) -> None:
    """Send the page, or a file of it."""
    body, content_type = PAGE[scope["path"]]
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"content-security-policy", CONTENT_SECURITY.encode()),
        (b"cache-control", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body if scope["method"] == "GET" else b""})


def find_backplane() -> Backplane | None:
    """Return the Redis that several processes share; None if none is named."""
    url = os.environ.get("CHAT_REDIS")
    if url is None:
        return None
    from pondsocket.backplane.redis import RedisBackplane  # pip install "hiredis>=3.5"

    return RedisBackplane(url, prefix="chat")


QuietRefusals.install()  # browsers try again while the server restarts, and are refused
RedactSecrets.install()  # names and keys are in queries, which the server would log
app = create_app(HISTORY, find_backplane())


def port_number(text: str) -> int:
    """Parse a port, 0 to 65535; 0 means any free port."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def explain(problem: OSError, host: str, port: int) -> str:
    """Return what to do if the server cannot listen on the address."""
    if problem.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 8000
        return (
            f"Port {port} is in use. Stop what uses it, or choose another: "
            f"add --port {other} (after nox -s demo: -- --port {other})."
        )
    if problem.errno == errno.EACCES:
        return f"Port {port} may not be opened by you. Choose one above 1023, such as 8000."
    if problem.errno in (errno.EADDRNOTAVAIL, socket.EAI_NONAME):
        return f"{host} is no address of this machine. Try --host 127.0.0.1."
    return f"Cannot listen on {host}, port {port}: {problem.strerror}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the chat until it is interrupted; return the exit code."""
    parser = argparse.ArgumentParser(description="A chat over WebSocket and server-sent events.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port_number, default=8000)
    parser.add_argument(
        "--no-history", action="store_true", help="keep no messages for clients that were away"
    )
    options = parser.parse_args(arguments)
    host: str = options.host
    port: int = options.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as problem:
        print(explain(problem, host, port), file=sys.stderr)
        return 1
    with listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"The chat is at http://{shown}:{listener.getsockname()[1]}", flush=True)
        # 2 s: a browser that does not close its side must not delay the end.
        config = uvicorn.Config(
            create_app(None, find_backplane()) if options.no_history else app,
            log_level="warning",
            timeout_graceful_shutdown=2,
            ws="pondsocket_asgi.fastlane:Protocol",
            ws_max_size=MESSAGE_LIMIT,
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
