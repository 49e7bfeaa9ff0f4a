"""An endpoint whose path names the tenant, and rooms of one name in two tenants.

Wanted: what is said in the room of one tenant is not heard in the room of another, nor are its
members seen there.
"""

import asyncio
import sys

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket.testing import connect

pond = PondSocket()


@pond.endpoint("/:tenant/socket")
async def endpoint(ctx: ConnectionContext, tenant: str, user: str) -> None:
    ctx.accept(user_id=user, tenant=tenant)


@endpoint.channel("/chat/:room")
async def chat(ctx: JoinContext) -> None:
    await ctx.accept()
    await ctx.track({"who": ctx.user.id})


@chat.on_message("say")
async def say(ctx: EventContext, text: str) -> str:
    await ctx.broadcast("said", {"text": text})
    return "done"


async def faults() -> list[str]:
    found = []
    async with (
        connect(pond, "/acme/socket?user=ann") as ann,
        connect(pond, "/rival/socket?user=eve") as eve,
    ):
        for client in (ann, eve):
            await client.join("/chat/1")
        await ann.answer(ann.send("BROADCAST", "/chat/1", "say", {"text": "a secret of acme"}))
        heard = [message.event for message in eve.drain()]
        if "said" in heard:
            found.append("a client of one tenant hears what is said in another's room")
        if heard.count("JOIN") != 1 or "ann" in await presence_of("/rival/socket"):
            found.append("a client of one tenant sees who is in another's room")
    return found


async def presence_of(path: str) -> list[str]:
    return [*await pond.channel(path, "/chat/1").get_presence()]


if __name__ == "__main__":
    bad = asyncio.run(faults())
    print("FAIL " + "; ".join(bad) if bad else "ok tenants are kept apart")
    sys.exit(bool(bad))
