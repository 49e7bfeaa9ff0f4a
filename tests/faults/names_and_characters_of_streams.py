"""Event names that browsers keep for themselves, and characters that readers take for line ends.

`event: error` runs a page's `onerror`. A raw U+2028, U+2029 or U+0085 in the JSON breaks readers
that cut lines with `splitlines`.
"""

import asyncio
import sys

from pondsocket import ConnectionContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, SSESession

pond = PondSocket()


@pond.endpoint("/s")
async def endpoint(ctx: ConnectionContext) -> None:
    ctx.accept()


@endpoint.channel("/c")
async def chan(ctx: JoinContext) -> None:
    await ctx.accept()


async def taken(stream: SSESession) -> str:
    """Return what has been written since."""
    await asyncio.sleep(0.05)
    body = b"".join(message["body"] for message in stream.outbox).decode()
    stream.outbox.clear()
    return body


async def main() -> list[str]:
    bad = []
    stream = await ASGITestDriver(PondASGIApp(pond)).connect_sse("/s")
    await stream.send_client_message(action="JOIN_CHANNEL", channel_name="/c", event="join")
    await stream.receive_event_named("ACKNOWLEDGE")
    room = pond.channel("/s", "/c")
    await room.broadcast("x", {"t": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"})
    body = await taken(stream)
    if not body or body.split("\n")[:-1] != body.splitlines():
        bad.append(f"readers with splitlines() see {body.splitlines()[-1:]}")
    for name in ("error", "open"):
        await room.broadcast(name, {})
        body = await taken(stream)
        if not body or f"event: {name}\n" in body:
            bad.append(f"an application's event {name!r} makes a browser call on{name}")
    await room.broadcast("x\u2028data: {}\u2028\u2028", {"real": 1})
    if len((body := await taken(stream)).splitlines()) != len(body.split("\n")) - 1:
        bad.append("the name of an event writes lines of its own")
    await stream.disconnect()
    return bad


if __name__ == "__main__":
    bad = asyncio.run(main())
    print("FAIL " + "; ".join(bad) if bad else "ok names and characters of streams")
    sys.exit(bool(bad))
