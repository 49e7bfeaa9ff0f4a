"""Every block of an event stream has data, though it idles, resumes and ends.

Readers dispatch a block of a comment, an `id:` or a `retry:` alone as an event; what parses its
data as JSON fails there, and some readers then connect again and again.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pondsocket import ConnectionContext, History, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver

Message = MutableMapping[str, Any]

pond = PondSocket(options=Options(sse_keepalive_seconds=0.2))


@pond.endpoint("/s")
async def endpoint(ctx: ConnectionContext) -> None:
    ctx.accept(user_id="ann")


@endpoint.channel("/c", history=History(size=5))
async def chan(ctx: JoinContext) -> None:
    await ctx.accept()


async def main() -> list[str]:
    written: list[str] = []
    app = PondASGIApp(pond)

    async def noting(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        async def keep(message: Message) -> None:
            if message["type"] == "http.response.body" and scope["method"] == "GET":
                written.append(message.get("body", b"").decode())
            await send(message)

        await app(scope, receive, keep)

    stream = await ASGITestDriver(noting).connect_sse("/s")
    await stream.send_client_message(action="JOIN_CHANNEL", channel_name="/c", event="join")
    await asyncio.sleep(0.1)
    await pond.channel("/s", "/c").broadcast("x", {"n": 1})
    await asyncio.sleep(0.7)
    await pond.drain(0.05)
    await asyncio.sleep(0.2)
    blocks = [block for block in "".join(written).split("\n\n") if block]
    kinds = Counter(
        "a comment" if block.startswith(":") else block.split(":")[0]
        for block in blocks
        if not any(line.startswith("data:") for line in block.split("\n"))
    )
    if len(blocks) < 4:
        return [f"only {len(blocks)} blocks"]
    return [f"{count} of {len(blocks)} blocks are {kind} alone" for kind, count in kinds.items()]


if __name__ == "__main__":
    bad = asyncio.run(main())
    print("FAIL " + "; ".join(bad) if bad else "ok every block has data")
    sys.exit(bool(bad))
