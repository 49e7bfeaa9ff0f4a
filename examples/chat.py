"""A chat: rooms, names and who is here, over WebSocket or server-sent events.

Run it with `python examples/chat.py` and open the address it prints in two windows.
"""

import argparse
import errno
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp, RedactSecrets

NAME_LIMIT = 24
ROOM_LIMIT = 40
TEXT_LIMIT = 2000
KEY_LIMIT = 64
# What the pond takes as well (Options.max_message_bytes). Servers hand over whole messages, so they
# have to know; uvicorn's own limit is 16 MiB.
MESSAGE_LIMIT = 65_536
PAGE = Path(__file__).with_name("chat.html").read_bytes()

# Any is what the ASGI specification says of the values in these dictionaries.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def enter(ctx: ConnectionContext) -> None:
    """Admit whoever brings a usable name; the server makes up the user id."""
    name = " ".join((ctx.query.get("name") or "").split())
    if not name:
        ctx.decline(400, "Please say what your name is.")
    elif len(name) > NAME_LIMIT:
        ctx.decline(400, f"That name is too long: {NAME_LIMIT} characters are the most.")
    elif not name.isprintable():
        ctx.decline(400, "That name holds characters that cannot be shown.")
    else:
        # A name proves nothing, so it is no identity: two people called Ann are two people.
        ctx.accept(name=name, user=ctx.user_id)


async def join(ctx: JoinContext) -> None:
    """Let the person into the room and show them to everyone in it."""
    room = ctx.route.params["room"]
    if len(room) > ROOM_LIMIT or not room.isprintable():
        await ctx.decline(400, f"A room's name has at most {ROOM_LIMIT} visible characters.")
        return
    await ctx.accept()
    await ctx.track({"user": await ctx.get_assign("user"), "name": await ctx.get_assign("name")})


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
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        await ctx.broadcast("message", said)


pond = PondSocket()
endpoint = pond.create_endpoint("/socket", enter)
rooms = endpoint.create_channel("/chat/:room", join)
rooms.on_message("message", say)
# On SIGTERM and Ctrl-C it says goodbye to everybody before the server stops.
pond_app = PondASGIApp(pond)
RedactSecrets.install()  # people's names stand in queries, and the server would log those


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve the page at `/` and leave everything else to the pond."""
    if scope["type"] != "http" or scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
        await pond_app(scope, receive, send)
        return
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(PAGE)).encode()),
        (b"cache-control", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    body = PAGE if scope["method"] == "GET" else b""
    await send({"type": "http.response.body", "body": body})


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
            app,
            log_level="warning",
            timeout_graceful_shutdown=2,
            ws_max_size=MESSAGE_LIMIT,
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
