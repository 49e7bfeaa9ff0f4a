"""Handlers that close or drain the pond that runs them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    JoinContext,
    LeaveContext,
    Lobby,
    Next,
    OutgoingContext,
    PondSocket,
)
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import CloseCode

from tests.core.members import LeaveLog, member
from tests.core.ponds import ROOM, PondSetup, build

# ruff: noqa: A002


class Closing:
    """Closes a pond, and notes what became of it."""

    def __init__(self, call: str) -> None:
        self.pond: PondSocket | None = None
        self.over = anyio.Event()
        self._call = call

    async def __call__(self) -> None:
        assert self.pond is not None
        await getattr(self.pond, self._call)()
        self.over.set()


async def in_event(setup: PondSetup, closing: Closing) -> None:
    async def handle(ctx: EventContext) -> None:
        await closing()

    setup.lobby.on_message("end", handle)


async def in_event_that_has_waited(setup: PondSetup, closing: Closing) -> None:
    async def handle(ctx: EventContext) -> None:
        await anyio.wait_all_tasks_blocked()
        await closing()

    setup.lobby.on_message("end", handle)


async def in_concurrent_event(setup: PondSetup, closing: Closing) -> None:
    async def handle(ctx: EventContext) -> None:
        await anyio.wait_all_tasks_blocked()
        await closing()

    setup.lobby.on_message("end", handle, concurrent=True)


async def in_group_of_event(setup: PondSetup, closing: Closing) -> None:
    async def handle(ctx: EventContext) -> None:
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(closing)

    setup.lobby.on_message("end", handle)


async def in_plain_event(setup: PondSetup, closing: Closing) -> None:
    setup.lobby.on_message("end", lambda: anyio.from_thread.run(closing))


async def in_plain_dependency(setup: PondSetup, closing: Closing) -> None:
    def depends() -> None:
        anyio.from_thread.run(closing)

    async def handle(ctx: EventContext, dependency: None = Depends(depends)) -> None: ...

    setup.lobby.on_message("end", handle)


async def in_clean_up(setup: PondSetup, closing: Closing) -> None:
    async def depends() -> AsyncIterator[None]:
        yield
        await closing()

    async def handle(ctx: EventContext, dependency: None = Depends(depends)) -> None: ...

    setup.lobby.on_message("end", handle)


async def in_middleware(setup: PondSetup, closing: Closing) -> None:
    async def middleware(ctx: EventContext, next: Next) -> None:
        await closing()

    async def handle(ctx: EventContext) -> None: ...

    setup.lobby.on_message("end", handle, middleware)


async def in_join(setup: PondSetup, closing: Closing) -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await closing()

    async def handle(ctx: EventContext) -> None: ...

    setup.endpoint.include(Lobby("/other", join))
    setup.lobby.on_message("end", handle)


async def in_outgoing(setup: PondSetup, closing: Closing) -> None:
    async def outgoing(ctx: OutgoingContext) -> None:
        await closing()

    async def handle(ctx: EventContext) -> None:
        await ctx.broadcast("said")

    setup.lobby.on_outgoing("said", outgoing)
    setup.lobby.on_message("end", handle)


PLACES: Final = [
    in_event,
    in_event_that_has_waited,
    in_concurrent_event,
    in_group_of_event,
    in_plain_event,
    in_plain_dependency,
    in_clean_up,
    in_middleware,
    in_join,
    in_outgoing,
]


@pytest.mark.parametrize("call", ["close", "drain"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_handler_does_not_wait_for_itself(
    place: Callable[[PondSetup, Closing], Awaitable[None]], call: str
) -> None:
    setup, closing, leaves = build(), Closing(call), LeaveLog()
    closing.pond = setup.pond
    setup.lobby.on_leave(leaves)
    await place(setup, closing)
    with anyio.fail_after(3):
        async with member(setup, "ann") as ann, member(setup, "bob") as bob:
            ann.send("BROADCAST", ROOM, "end")
            ann.send("JOIN_CHANNEL", "/other", "join")
            await closing.over.wait()
            code = CloseCode.GOING_AWAY if call == "close" else CloseCode.RESTART
            assert [await ann.wait_closed(), await bob.wait_closed()] == [code, code]
    assert sorted(user for user, _ in leaves.seen) == ["ann", "bob"]


@pytest.mark.parametrize("call", ["close", "drain"])
async def test_two_handlers_do_not_wait_for_each_other(call: str) -> None:
    setup = build()
    over: list[str] = []

    async def handle(ctx: EventContext) -> None:
        await anyio.wait_all_tasks_blocked()
        await getattr(setup.pond, call)()
        over.append(ctx.user.id)

    setup.lobby.on_message("end", handle)
    with anyio.fail_after(3):
        async with member(setup, "ann") as ann, member(setup, "bob") as bob:
            for peer in (ann, bob):
                peer.send("BROADCAST", ROOM, "end")
            await ann.wait_closed()
            await bob.wait_closed()
    assert sorted(over) == ["ann", "bob"]


async def test_a_handler_waits_for_the_other_connections() -> None:
    setup, closing = build(), Closing("close")
    closing.pond = setup.pond
    began, ended = anyio.Event(), list[str]()

    async def slow(ctx: EventContext) -> None:
        began.set()
        await anyio.wait_all_tasks_blocked()
        ended.append("bob's handler")

    await in_event(setup, closing)
    setup.lobby.on_message("slow", slow)
    with anyio.fail_after(3):
        async with member(setup, "ann") as ann, member(setup, "bob") as bob:
            bob.send("BROADCAST", ROOM, "slow")
            await began.wait()
            ann.send("BROADCAST", ROOM, "end")
            await closing.over.wait()
            assert ended == ["bob's handler"]


async def test_a_handler_of_the_endpoint_does_not_wait_for_itself() -> None:
    setup, closing = build(), Closing("close")
    closing.pond = setup.pond

    async def handle() -> None:
        await closing()

    setup.endpoint.on_message("end", handle)
    with anyio.fail_after(2):
        async with connect(setup.pond, "/socket") as ann:
            ann.send("BROADCAST", "GATEWAY", "end")
            await closing.over.wait()


@pytest.mark.parametrize("call", ["close", "drain"])
async def test_a_task_of_the_application_may_do_it_for_a_handler(call: str) -> None:
    setup, closing = build(), Closing(call)
    closing.pond = setup.pond
    leaves = LeaveLog()
    setup.lobby.on_leave(leaves)

    async with anyio.create_task_group() as tasks:

        async def handle(ctx: EventContext) -> str:
            tasks.start_soon(closing)
            return "soon"

        setup.lobby.on_message("end", handle)
        with anyio.fail_after(3):
            async with member(setup, "ann") as ann:
                answer = await ann.answer(ann.send("BROADCAST", ROOM, "end"))
                assert answer.payload == {"result": "soon"}
                await ann.wait_closed()
            await closing.over.wait()
    assert len(leaves.seen) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_of_asyncio_may_do_it_though_it_inherits_the_context() -> None:
    setup, closing = build(), Closing("close")
    closing.pond = setup.pond
    started: list[asyncio.Task[None]] = []

    async def handle(ctx: EventContext) -> None:
        started.append(asyncio.create_task(closing()))

    setup.lobby.on_message("end", handle)
    with anyio.fail_after(3):
        async with member(setup, "ann") as ann:
            ann.send("BROADCAST", ROOM, "end")
            assert await ann.wait_closed() is CloseCode.GOING_AWAY
        await started[0]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_outlives_a_plain_handler_may_do_it() -> None:
    setup, closing = build(), Closing("close")
    closing.pond = setup.pond
    returned = anyio.Event()

    async def later() -> None:
        await returned.wait()
        await closing()

    async def start() -> asyncio.Task[None]:
        return asyncio.create_task(later())

    started: list[asyncio.Task[None]] = []
    setup.lobby.on_message("end", lambda: started.append(anyio.from_thread.run(start)))
    setup.lobby.on_message("over", lambda: "over")
    with anyio.fail_after(3):
        async with member(setup, "ann") as ann:
            ann.send("BROADCAST", ROOM, "end")
            await ann.answer(ann.send("BROADCAST", ROOM, "over"))
            returned.set()
            assert await ann.wait_closed() is CloseCode.GOING_AWAY
        await started[0]


async def test_a_handler_may_close_another_pond() -> None:
    setup, other, closing = build(), build(), Closing("close")
    closing.pond = other.pond
    await in_event(setup, closing)
    with anyio.fail_after(3):
        async with member(setup, "ann") as ann, member(other, "bob") as bob:
            ann.send("BROADCAST", ROOM, "end")
            assert await bob.wait_closed() is CloseCode.GOING_AWAY
            await closing.over.wait()
            assert ann.closed is None


async def test_handlers_that_no_connection_waits_for_may_do_it() -> None:
    closing = Closing("close")

    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept()
        if ctx.query.get("user") == "eve":
            await closing()

    setup = build(connect=admit)
    closing.pond = setup.pond
    with anyio.fail_after(3):
        async with connect(setup.pond, "/socket?user=ann") as ann:
            with pytest.raises(ConnectionRefused, match="503"):
                async with connect(setup.pond, "/socket?user=eve"):
                    pass
            assert ann.closed is CloseCode.GOING_AWAY


async def test_a_leave_handler_of_a_connection_that_has_ended_may_do_it() -> None:
    setup, closing = build(), Closing("close")
    closing.pond = setup.pond

    async def leave(ctx: LeaveContext) -> None:
        await closing()

    setup.lobby.on_leave(leave)
    with anyio.fail_after(3):
        async with member(setup, "ann"):
            pass
    assert not setup.pond.is_ready


CALLS: Final[dict[str, Callable[[PondSetup], Awaitable[Any]]]] = {
    "pond.disconnect": lambda setup: setup.pond.disconnect(user_id="ann"),
    "endpoint.close_connection": lambda setup: setup.endpoint.close_connection("ann"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("waits", [False, True])
async def test_a_handler_may_close_its_own_connection(call: str, waits: bool) -> None:
    setup, leaves = build(), LeaveLog()
    over: list[bool] = []
    setup.lobby.on_leave(leaves)

    async def handle(ctx: EventContext) -> None:
        if waits:
            await anyio.lowlevel.checkpoint()
        await CALLS[call](setup)
        over.append(True)

    setup.lobby.on_message("end", handle)
    with anyio.fail_after(3):
        async with member(setup, "ann") as ann:
            ann.send("BROADCAST", ROOM, "end")
            assert await ann.wait_closed() is CloseCode.DISCONNECTED
    assert over == [True]
    assert len(leaves.seen) == 1
