# A route that refuses strangers by HTTP, and an event whose message and response are models.
#
# Run it with `uvicorn examples.events.handshake:app`; clients connect to `/socket?token=secret`.

from pondsocket import ConnectionContext, Next, PondSocket
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel


class Message(BaseModel):
    text: str


async def with_token(ctx: ConnectionContext, next: Next) -> None:
    await (next() if ctx.query.get("token") == "secret" else ctx.decline(401, "Wrong token"))


pond = PondSocket()
socket = pond.create_endpoint("/socket", middlewares=[with_token])


@socket.on_message("shout")
async def shout(payload: Message) -> Message:
    return Message(text=payload.text.upper())


app = PondASGIApp(pond)
