"""A room that repeats and an echo, served by each package that has this interface.

Ours runs it, and PyPI's `pondsocket-asgi` in an environment of its own: the very same handlers.
"""

from pondsocket import ConnectionContext, EventContext, JoinContext, Lobby, Options, PondSocket
from pondsocket_asgi import PondASGIApp


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept()


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()


async def say(ctx: EventContext) -> None:
    await ctx.broadcast(ctx.event_name, ctx.get_payload())


async def echo(ctx: EventContext) -> None:
    await ctx.reply(ctx.event_name, ctx.get_payload())


async def nothing(ctx: EventContext) -> None:
    pass


def unlimited() -> Options | None:
    """No limit on how often a client may send; the peer's package has none to switch off."""
    try:
        return Options(event_rate=None, control_rate=None)
    except TypeError:
        return None


def build() -> tuple[PondSocket, Lobby]:
    """A pond, and the lobby of its rooms."""
    pond = PondSocket(options=unlimited())
    lobby = pond.create_endpoint("/socket", admit).create_channel("/room/:room_id", enter)
    lobby.on_message("say", say)
    lobby.on_message("echo", echo)
    lobby.on_message("nothing", nothing)
    return pond, lobby


pond, _ = build()
app = PondASGIApp(pond)
