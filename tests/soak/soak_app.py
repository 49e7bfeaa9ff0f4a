"""`stall_app` with channels for members that only show themselves, and for ever new names."""

from typing import Final

from pondsocket import EventContext, History

from tests.integration.stall_app import app, enter, rooms, say, sockets

# Of 64 MiB: full within the minute.
HISTORY_BYTES: Final = 2 * 1024 * 1024

__all__ = ["app"]


async def show(ctx: EventContext) -> None:
    await ctx.track(ctx.get_payload())


shown = sockets.create_channel("/show/:room_id", enter)
shown.on_message("show", show)
kept = sockets.create_channel(
    "/kept/:room_id", enter, history=History(max_total_bytes=HISTORY_BYTES)
)
kept.on_message("say", say)
rooms["/show/:room_id"] = shown
rooms["/kept/:room_id"] = kept
