"""A pond to be deployed.

Nothing here is asyncio's, so that hypercorn can run it on trio.
"""

import anyio
from pondsocket import EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()


async def linger(ctx: EventContext) -> None:
    """Go on for a while, whatever becomes of the connection."""
    await ctx.reply("lingering", {})
    await anyio.sleep(ctx.get_payload()["seconds"])


def make_pond() -> PondSocket:
    """Return a pond that accepts every connection."""
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", lambda ctx: ctx.accept())
    lobby = endpoint.create_channel("/room/:id", enter)
    lobby.on_message("linger", linger)
    return pond


app = PondASGIApp(make_pond())
headstrong = PondASGIApp(make_pond(), drain_on_signals=False)
