"""Whatever a handler raises is the affair of one message, and a refusal keeps its code.

A cancelled task, a group, a time limit or a StopIteration is answered, and the connection goes on.
A PondError that comes out of a task group is a PondError still.

`python -m tests.faults.exceptions_of_handlers`
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    JoinContext,
    LeaveContext,
    PondError,
    PondSocket,
)
from pondsocket.testing import ConnectionRefused, MemoryPeer, connect


async def cancelled_task() -> None:
    task = asyncio.ensure_future(asyncio.sleep(9))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def cancelled_error() -> None:
    raise asyncio.CancelledError


async def pond_error() -> None:
    raise PondError("No money.", 402)


async def group_of_asyncio() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pond_error())


async def group_of_anyio() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pond_error)


async def beside_a_failure() -> None:
    raise BaseExceptionGroup("", [OSError(), ExceptionGroup("", [PondError("No money.", 402)])])


async def time_limit() -> None:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(1)


async def stop_iteration() -> None:
    raise StopIteration


async def stop_async_iteration() -> None:
    raise StopAsyncIteration


WAYS: Final[dict[Callable[[], Awaitable[None]], int]] = {
    cancelled_task: 500,
    cancelled_error: 500,
    group_of_asyncio: 402,
    group_of_anyio: 402,
    beside_a_failure: 402,
    time_limit: 500,
    stop_iteration: 500,
    stop_async_iteration: 500,
}
PLACES: Final = ("connection", "join", "event", "dependency", "leave")


def made(place: str, raising: Callable[[], Awaitable[None]]) -> PondSocket:
    """Return a pond in which one place raises."""
    pond = PondSocket()

    async def reach(this: str) -> None:
        if this == place:
            await raising()

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext) -> None:
        await reach("connection")
        ctx.accept(user_id="ann")

    @endpoint.channel("/room")
    async def room(ctx: JoinContext) -> None:
        await reach("join")
        await ctx.accept()

    async def dependency() -> None:
        await reach("dependency")

    @room.on_message("ask")
    async def ask(ctx: EventContext, _: None = Depends(dependency)) -> str:
        await reach("event")
        return "fine"

    @room.on_message("ping")
    async def ping(ctx: EventContext) -> str:
        return "pong"

    @room.on_leave
    async def leave(ctx: LeaveContext) -> None:
        await reach("leave")

    return pond


async def code_of(ann: MemoryPeer, place: str) -> object:
    """Return the code of the answer."""
    answer = await ann.join("/room")
    if place != "join":
        answer = await ann.answer(ann.send("BROADCAST", "/room", "ask"))
    if place == "leave":
        await ann.answer(ann.send("LEAVE_CHANNEL", "/room", "leave"))
        await ann.join("/room")
    if place != "join":
        again = await ann.answer(ann.send("BROADCAST", "/room", "ping"))
        if again.payload != {"result": "pong"}:
            return f"afterwards {again.payload}"
    return getattr(answer.payload, "code", None)


async def tried(place: str, raising: Callable[[], Awaitable[None]]) -> str | None:
    """Return what is wrong; None: nothing."""
    wanted = None if place == "leave" else WAYS[raising]
    found: object
    try:
        async with asyncio.timeout(4), connect(made(place, raising), "/socket") as ann:
            found = await code_of(ann, place)
    except ConnectionRefused as refused:
        found = refused.code
    except Exception as error:  # noqa: BLE001 - a failure of what is tried
        found = repr(error)[:100]
    return None if found == wanted else f"{place}, {raising.__name__}: {found}, not {wanted}"


async def main() -> list[str]:
    found = [await asyncio.ensure_future(tried(place, way)) for place in PLACES for way in WAYS]
    return [each for each in found if each]


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    bad = asyncio.run(main())
    print("FAIL " + "; ".join(bad) if bad else "ok whatever is raised costs one message alone")
    sys.exit(bool(bad))
