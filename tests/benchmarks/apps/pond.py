"""Channels that broadcast and echo, for each package that has this interface.

This project runs it, and PyPI's `pondsocket-asgi` in a separate environment: the same handlers.
"""

from collections.abc import Awaitable, Callable

from pondsocket import ConnectionContext, EventContext, JoinContext, Lobby, Options, PondSocket
from pondsocket_asgi import PondASGIApp

# Texts of 64 KiB are measured, plus their envelope; the default is 64 KiB in all.
MESSAGE_BYTES = 131_072
# Longer than a run, so that no heartbeat is measured, as for the other servers. Heartbeats are not
# switched off, so that the cost of their timers is measured.
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
    """Return options without rate limits; None for PyPI's package, which has no such options."""
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
    """Register handlers that broadcast and echo."""
    lobby.on_message("say", say)
    lobby.on_message("echo", echo)
    lobby.on_message("nothing", nothing)
    return lobby


def build(enter: Callable[[JoinContext], Awaitable[None]] = enter) -> tuple[PondSocket, Lobby]:
    """Make a pond, and the lobby of its channels with this join handler."""
    pond = PondSocket(options=unlimited())
    endpoint = pond.create_endpoint("/socket", admit)
    return pond, handle(endpoint.create_channel("/room/:room_id", enter))


pond, _ = build()
app = PondASGIApp(pond)
