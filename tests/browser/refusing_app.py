"""The chat, with an endpoint that refuses some of the users."""

from typing import Final

from pondsocket import ConnectionContext, PondSocket
from pondsocket_asgi import PondASGIApp

from examples.chat import HISTORY, Message, Receive, Send, enter, open_rooms
from examples.chat import app as chat

REFUSALS: Final = {
    "Eve": (401, "Sign in first, please."),
    "Mallory": (403, "You may not come in here."),
}


async def refuse_some(ctx: ConnectionContext) -> None:
    """Refuse the names in `REFUSALS`, and one that ends in "once" when it comes again."""
    name = ctx.query.get("name") or ""
    if name in REFUSALS:
        ctx.decline(*REFUSALS[name])
    elif name in visitors and name.endswith("once"):
        ctx.decline(401, "Your ticket was for one visit.")
    else:
        visitors.add(name)
        await enter(ctx)


visitors: Final[set[str]] = set()
pond = PondSocket()
open_rooms(pond.create_endpoint("/socket", refuse_some), HISTORY)
refusing = PondASGIApp(pond)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve the chat's page and its files, and this endpoint in place of the chat's."""
    is_page = scope["type"] == "http" and scope["path"] != "/socket"
    await (chat if is_page else refusing)(scope, receive, send)
