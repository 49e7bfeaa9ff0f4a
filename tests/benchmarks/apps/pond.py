"""A room that repeats and an echo, served by each package that has this interface.

Ours runs it, and PyPI's `pondsocket-asgi` in an environment of its own: the very same handlers.
"""

from collections.abc import Awaitable, Callable

from pondsocket import ConnectionContext, EventContext, JoinContext, Lobby, Options, PondSocket
from pondsocket_asgi import PondASGIApp

# Texts of 64 KiB are measured, and the envelope comes on top; the default is 64 KiB in all.
MESSAGE_BYTES = 131_072
# Longer than a run: what idle connections are told is not what is measured, of no server. It is
# not switched off, so that to keep the time costs what it costs.
HOUR = 3_600.0


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
        return Options(
            event_rate=None,
            control_rate=None,
            max_message_bytes=MESSAGE_BYTES,
            heartbeat_seconds=HOUR,
            sse_keepalive_seconds=HOUR,
        )
    except TypeError:
        return None


def handle(lobby: Lobby) -> Lobby:
    """Have a lobby repeat and echo."""
    lobby.on_message("say", say)
    lobby.on_message("echo", echo)
    lobby.on_message("nothing", nothing)
    return lobby


def build(enter: Callable[[JoinContext], Awaitable[None]] = enter) -> tuple[PondSocket, Lobby]:
    """Return a pond, and the lobby of its rooms, which are joined by this handler."""
    pond = PondSocket(options=unlimited())
    endpoint = pond.create_endpoint("/socket", admit)
    return pond, handle(endpoint.create_channel("/room/:room_id", enter))


pond, _ = build()
app = PondASGIApp(pond)
