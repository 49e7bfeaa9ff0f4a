"""Handlers that go on after their member has left, and a join that is accepted after the end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pondsocket import EventContext, JoinContext
from pondsocket.testing import MemoryPeer, connect

from tests.faults._outcome import end
from tests.faults._rooms import Rooms, build

ROOM: Final = "/room/1"
CALLS: Final[dict[str, Callable[[EventContext], Awaitable[None]]]] = {
    "track": lambda ctx: ctx.track({"ghost": True}),
    "update_presence": lambda ctx: ctx.update_presence({"ghost": True}),
    "set_assign": lambda ctx: ctx.set_assign("ghost", True),
    "reply": lambda ctx: ctx.reply("late", {}),
    "broadcast": lambda ctx: ctx.broadcast("late", {}),
    "evict": lambda ctx: ctx.evict("late"),
    "untrack": lambda ctx: ctx.untrack(),
}


async def leave(ann: MemoryPeer) -> None:
    ann.send("LEAVE_CHANNEL", ROOM, "leave")
    await ann.receive_event("EXIT_ACKNOWLEDGE")


async def vanish(ann: MemoryPeer) -> None:
    ann.vanish()
    await ann.wait_closed()


async def faults_of(rooms: Rooms, how: Callable[[MemoryPeer], Awaitable[None]]) -> list[str]:
    faults: list[str] = []
    gone, over = asyncio.Event(), asyncio.Event()

    async def late(ctx: EventContext) -> None:
        await gone.wait()
        for name, call in CALLS.items():
            try:
                await call(ctx)
            except Exception as error:  # noqa: BLE001 - all of them are shown
                faults.append(f"{name} raises {error}")
        over.set()

    rooms.lobby.on_message(how.__name__, late, concurrent=True)
    async with connect(rooms.pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        ann.send("BROADCAST", ROOM, how.__name__)
        await how(ann)
        gone.set()
        await over.wait()
    room = rooms.pond.channel("/socket", ROOM)
    if await room.user_count() != 1 or await room.get_presence():
        faults.append(f"{how.__name__}: the member is back")
    return faults


async def main() -> list[str]:
    rooms, asked, gone = build(), asyncio.Event(), asyncio.Event()

    async def slow(ctx: JoinContext) -> None:
        asked.set()
        await gone.wait()
        await ctx.accept()

    lobby = rooms.endpoint.create_channel("/slow", slow)
    async with connect(rooms.pond, "/socket?user=bob") as bob:
        await bob.join(ROOM)
        faults = await faults_of(rooms, leave) + await faults_of(rooms, vanish)
    async with connect(rooms.pond, "/socket") as ann:
        ann.send("JOIN_CHANNEL", "/slow", "join")
        await asked.wait()
    gone.set()
    if await lobby.list_channels():
        faults.append("a join was accepted after the end of its connection")
    return faults


if __name__ == "__main__":
    end(asyncio.run(main()), "nothing is left of members whose handlers are late")
