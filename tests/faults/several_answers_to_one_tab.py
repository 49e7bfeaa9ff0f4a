"""Progress, lines of a log or tokens of a model go to the one tab that asked, as several events.

The user's other tabs get none of them, whether the handler sends them, a task that it has started,
or a thread.
"""

import asyncio
import threading

from pondsocket import ConnectionContext, ConnectionHandle, EventContext, JoinContext, PondSocket
from pondsocket.testing import MemoryPeer, connect

from tests.faults._outcome import end

STEPS = 3

pond = PondSocket()
tasks: set[asyncio.Task[None]] = set()


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext) -> None:
    ctx.accept(user_id="ann")


@socket.channel("/room")
async def room(ctx: JoinContext) -> None:
    await ctx.accept()


@room.on_message("handler")
async def work(ctx: EventContext) -> str:
    for step in range(STEPS):
        await ctx.push("progress", {"step": step})
    return "done"


@room.on_message("task")
async def start_task(ctx: EventContext) -> str:
    async def later() -> None:
        push_all(ctx.connection, ctx.channel.name)

    tasks.add(asyncio.create_task(later()))
    return "started"


@room.on_message("thread")
async def start_thread(ctx: EventContext) -> str:
    arguments = ctx.connection, ctx.channel.name
    threading.Thread(target=push_all, args=arguments).start()
    return "started"


def push_all(connection: ConnectionHandle, channel: str) -> None:
    for step in range(STEPS):
        connection.push("progress", {"step": step}, channel=channel)


async def fault_of(how: str, tab: MemoryPeer, other: MemoryPeer) -> str | None:
    await tab.answer(tab.send("BROADCAST", "/room", how))
    try:
        got = [(await tab.receive_event("progress")).payload for _ in range(STEPS)]
    except TimeoutError:
        got = []
    stray = [message.event for message in other.drain()]
    if got == [{"step": step} for step in range(STEPS)] and not stray:
        return None
    return f"{how}: the tab that asked got {got}, the other one {stray}"


async def handler_fault(tab: MemoryPeer, other: MemoryPeer) -> str | None:
    """Of a handler the events come before its reply, which has the request's id."""
    request_id = tab.send("BROADCAST", "/room", "handler")
    messages = [await tab.receive() for _ in range(STEPS + 1)]
    events = [message.event for message in messages]
    stray = [message.event for message in other.drain()]
    if events == ["progress"] * STEPS + ["handler"] and not stray:
        return None if messages[-1].request_id == request_id else "the reply has another id"
    return f"handler: the tab that asked got {events}, the other one {stray}"


async def faults() -> list[str]:
    async with connect(pond, "/socket") as tab, connect(pond, "/socket") as other:
        for each in (tab, other):
            await each.join("/room")
        for each in (tab, other):
            each.drain()
        found = [
            await handler_fault(tab, other),
            await fault_of("task", tab, other),
            await fault_of("thread", tab, other),
        ]
    return [each for each in found if each is not None]


if __name__ == "__main__":
    end(asyncio.run(faults()), "several answers to one tab")
