"""The target of the memory rows of `python -m tests.fuzz.cost`: handlers that hold on to things.

Limits are the default ones, but for three that would take too long to reach or to see the end of.
"""

import ctypes
import gc
from typing import Final

import anyio
from pondsocket import ConnectionContext, EventContext, History, JoinContext, Options, PondSocket
from pondsocket._history.memory import MemoryStore
from pondsocket_asgi import PondASGIApp

from tests.fuzz.app import own_state
from tests.state_route import Message, Receive, Send, send_json

LEAVE_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 0.2
# Of 64 MiB and of 100,000: filling these takes half a minute.
HISTORY_BYTES: Final = 4 * 1024 * 1024
POSITIONS: Final = 1_000
MemoryStore.__init__.__kwdefaults__ = {"most": POSITIONS}


class Mallinfo2(ctypes.Structure):
    """What `mallinfo2(3)` gives."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def held_bytes() -> int | None:
    """Return how much of its memory this process uses; None where the C library cannot say.

    With `PYTHONMALLOC=malloc` it is everything that Python and C code have allocated and not freed.
    """
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        return None
    ask.restype = Mallinfo2
    gc.collect()
    found = ask()
    return int(found.uordblks + found.hblkhd)


async def admit(ctx: ConnectionContext) -> None:
    # A leave is held back only of a user that the application has named.
    ctx.accept(user_id=ctx.headers.get("x-user"))


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()


async def refuse(ctx: JoinContext) -> None:
    await ctx.decline(403, "No.")


async def hang(_: JoinContext | EventContext) -> None:
    await anyio.sleep_forever()


async def echo(ctx: EventContext) -> None:
    await ctx.reply("echoed", ctx.get_payload())


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())


async def show(ctx: EventContext) -> None:
    await ctx.track(ctx.get_payload())


async def send_away(ctx: EventContext) -> None:
    await ctx.evict("You asked for it.")


pond = PondSocket(options=Options(presence_leave_delay=LEAVE_SECONDS, handler_grace=GRACE_SECONDS))
endpoint = pond.create_endpoint("/socket", admit)
room = endpoint.create_channel("/room/:id", enter)
room.on_message("echo", echo)
room.on_message("say", say)
room.on_message("show", show)
room.on_message("hang", hang)
room.on_message("go", send_away)
kept = endpoint.create_channel("/kept/:id", enter, history=History(max_total_bytes=HISTORY_BYTES))
kept.on_message("say", say)
endpoint.create_channel("/no/:id", refuse)
endpoint.create_channel("/slow/:id", hang)
_served = PondASGIApp(pond)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve the pond, and what the process holds at `/memory`."""
    if scope["type"] != "http" or scope["path"] != "/memory":
        await _served(scope, receive, send)
        return
    state = {
        "connections": await endpoint.connection_count(),
        # A held-back leave keeps its channel.
        "channels": len(await room.list_channels()),
        # An event handler outlives its connection by `handler_grace`.
        "tasks": len(anyio.get_running_tasks()),
        "held": held_bytes(),
        **own_state(),
    }
    await send_json(send, state)
