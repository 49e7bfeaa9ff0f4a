"""A chat: rooms, names and who is here, over WebSocket or server-sent events.

Run it with `python examples/chat.py` and open the address it prints in two windows.
"""

import argparse
import errno
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
    PondSocket,
)
from pondsocket_asgi import PondASGIApp, RedactSecrets

NAME_LIMIT = 24
ROOM_LIMIT = 40
TEXT_LIMIT = 2000
KEY_LIMIT = 64
# What the pond takes as well (Options.max_message_bytes). Servers hand over whole messages, so they
# have to know; uvicorn's own limit is 16 MiB.
MESSAGE_LIMIT = 65_536
# As many as one join may recover; an hour is a tunnel, a lift or a lunch.
HISTORY = History(size=300, ttl=3600)
EARLIER = 20  # what a newcomer sees of it
# Whoever loses the connection and is back in this time was never away, to the others.
AWAY_SECONDS = 10.0
PAGE = Path(__file__).with_name("chat.html").read_bytes()

# Any is what the ASGI specification says of the values in these dictionaries.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


async def enter(ctx: ConnectionContext) -> None:
    """Admit whoever brings a usable name; who is who, the server says."""
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
        # A name proves nothing: two people called Ann are two people. The key does: the page made
        # it up at random, and whoever comes back with it is the same person. All that the others
        # see of it is a digest.
        user = blake2b(f"{name}\n{key}".encode(), digest_size=12).hexdigest() if key else None
        ctx.accept(name=name, user=user or ctx.user_id, user_id=user)


async def say(ctx: EventContext) -> None:
    """Pass a message on to the room, with its author and time as the server knows them."""
    payload = ctx.get_payload()
    text, key = payload.get("text"), payload.get("key")
    if not isinstance(text, str) or not text.strip():
        await ctx.reply("refused", {"message": "There is nothing in this message."})
    elif len(text) > TEXT_LIMIT:
        await ctx.reply("refused", {"message": f"Too long: {TEXT_LIMIT} characters are the most."})
    elif not isinstance(key, str) or not 0 < len(key) <= KEY_LIMIT:
        await ctx.reply("refused", {"message": "This message has no key; please reload the page."})
    else:
        said = {
            # The sender's own random key: it tells the page that this one has arrived, and lets
            # every page drop the second copy when a message is sent again after a reconnect.
            "key": key,
            "text": text.strip(),
            "user": await ctx.get_assign("user"),
            "name": await ctx.get_assign("name"),
            "time": now(),
        }
        await ctx.broadcast("message", said)


def now() -> str:
    """The server's time, for pages; theirs may be wrong."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def open_rooms(endpoint: Endpoint, history: History | None) -> None:
    """Serve the rooms, with what was said in them lately or without."""

    async def join(ctx: JoinContext) -> None:
        """Let the person into the room and show them to everyone in it."""
        room = ctx.route.params["room"]
        if len(room) > ROOM_LIMIT or not room.isprintable():
            message = f"A room's name has at most {ROOM_LIMIT} visible characters."
            await ctx.decline(400, message)
            return
        # Who was away gets what was missed, and is told if that cannot be had; who is new, or has
        # missed too much, gets the latest messages.
        latest = None if history is None else EARLIER
        await ctx.accept(history=latest, response={"time": now()})
        user, name = await ctx.get_assign("user"), await ctx.get_assign("name")
        await ctx.track({"user": user, "name": name})

    rooms = endpoint.create_channel("/chat/:room", join, history=history)
    rooms.on_message("message", say)


def create_app(history: History | None) -> App:
    """The page at `/`, and the pond for everything else."""
    pond = PondSocket(options=Options(presence_leave_delay=AWAY_SECONDS))
    open_rooms(pond.create_endpoint("/socket", enter), history)
    # On SIGTERM and Ctrl-C it says goodbye to everybody before the server stops.
    pond_app = PondASGIApp(pond)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"] == "/"
        if is_page and scope["method"] in ("GET", "HEAD"):
            await serve_page(scope, send)
        else:
            await pond_app(scope, receive, send)

    return app


async def serve_page(scope: Message, send: Send) -> None:
    """Answer with the page."""
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(PAGE)).encode()),
        (b"cache-control", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    body = PAGE if scope["method"] == "GET" else b""
    await send({"type": "http.response.body", "body": body})


RedactSecrets.install()  # names and keys stand in queries, and the server would log those
app = create_app(HISTORY)


def port_number(text: str) -> int:
    """Read a port, 0 to 65535; 0 takes any free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def explain(problem: OSError, host: str, port: int) -> str:
    """Say what to do when the address cannot be had."""
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
        "--no-history", action="store_true", help="keep nothing for those who were away"
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
        # 2 s: a browser that does not close its side must not hold up the end.
        config = uvicorn.Config(
            create_app(None) if options.no_history else app,
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
