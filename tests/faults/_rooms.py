"""A pond whose endpoint and channels admit every client."""

from typing import NamedTuple

from pondsocket import ConnectionContext, Endpoint, JoinContext, Lobby, PondSocket
from pondsocket_common import ServerMessage


class Rooms(NamedTuple):
    """A pond with the endpoint /socket and the channels /room/:id."""

    pond: PondSocket
    endpoint: Endpoint
    lobby: Lobby


def build() -> Rooms:
    """Return a new pond; `?user=` names the user."""
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext, user: str = "ann") -> None:
        ctx.accept(user_id=user)

    @endpoint.channel("/room/:id")
    async def lobby(ctx: JoinContext) -> None:
        await ctx.accept()

    return Rooms(pond, endpoint, lobby)


def result_of(answer: ServerMessage) -> object:
    """Return what a handler has returned; the whole answer if it has not."""
    payload = answer.payload
    return payload["result"] if isinstance(payload, dict) and "result" in payload else answer
