"""Worker threads: how many at once, and how many of one connection."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    JoinContext,
    LeaveContext,
    Options,
    SyncEventContext,
    SyncJoinContext,
    UsageError,
)
from pondsocket._runtime.loop import Loop
from pondsocket._runtime.threads import Threads
from pondsocket.testing import ConnectionRefused, MemoryPeer, connect
from pondsocket_common import Fault, Refused

from tests.core.members import member, settled
from tests.core.ponds import ROOM, UNLIMITED, PondSetup, build

WAIT = 5.0


class Latch:
    """Plain calls that block until the test lets them go on."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.entered = threading.Semaphore(0)

    def wait(self) -> None:
        self.entered.release()
        assert self._open.wait(WAIT)

    def open(self) -> None:
        self._open.set()

    async def until(self, count: int) -> None:
        for _ in range(count):
            assert await anyio.to_thread.run_sync(partial(self.entered.acquire, timeout=WAIT))


def setup_with_slow_event(latch: Latch, options: Options) -> PondSetup:
    """Return a pond whose event `slow` blocks a thread, and whose event `quick` does not."""
    setup = build(options=options)

    def slow(ctx: SyncEventContext) -> None:
        latch.wait()

    def quick(ctx: SyncEventContext) -> str:
        return "done"

    setup.lobby.on_message("slow", slow)
    setup.lobby.on_message("quick", quick)
    return setup


async def send_to_many(peer: MemoryPeer, count: int) -> None:
    for number in range(count):
        await peer.join(f"/room/{number}")
        peer.send("BROADCAST", f"/room/{number}", "slow")


async def test_a_connection_takes_its_share_of_threads_and_no_more() -> None:
    latch = Latch()
    setup = setup_with_slow_event(latch, Options(max_threads=4, max_connection_threads=2))
    try:
        async with connect(setup.pond, "/socket?user=eve") as eve, member(setup, "ann") as ann:
            await send_to_many(eve, 5)
            await latch.until(2)
            await settled()
            assert not latch.entered.acquire(blocking=False)
            answer = await ann.answer(ann.send("BROADCAST", ROOM, "quick"), wait=WAIT)
            assert answer.payload == {"result": "done"}
            latch.open()
            await latch.until(3)
    finally:
        latch.open()


async def test_a_connection_that_has_gone_gives_its_threads_back() -> None:
    latch = Latch()
    setup = setup_with_slow_event(
        latch, Options(max_threads=2, max_connection_threads=2, handler_grace=0)
    )
    try:
        async with member(setup, "ann") as ann:
            async with connect(setup.pond, "/socket?user=eve") as eve:
                await send_to_many(eve, 5)
                await latch.until(2)
                eve.vanish()
                await settled()
                request = ann.send("BROADCAST", ROOM, "quick")
                latch.open()
            assert (await ann.answer(request, wait=WAIT)).payload == {"result": "done"}
            assert not latch.entered.acquire(blocking=False)
    finally:
        latch.open()


async def test_the_thread_of_a_join_that_was_given_up_counts_until_it_ends() -> None:
    latch = Latch()

    def join(ctx: SyncJoinContext) -> None:
        if ctx.join_params:
            latch.wait()
        else:
            ctx.accept()

    options = replace(UNLIMITED, max_threads=1, join_timeout=0.05)
    setup = build(join, options=options)
    try:
        async with connect(setup.pond, "/socket") as ann:
            for _ in range(2):  # the second one waits for the thread that the first one has
                refused = (await ann.join(ROOM, {"slow": True})).payload
                assert isinstance(refused, Refused)
                assert refused.code == 408
            await latch.until(1)
            latch.open()
            await settled()
            with anyio.fail_after(WAIT):
                while (await ann.join(ROOM)).event != "ACKNOWLEDGE":
                    await anyio.lowlevel.checkpoint()
    finally:
        latch.open()


def holds() -> Iterator[None]:
    yield


async def test_one_message_more_than_there_are_kept_threads_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = anyio.Event()

    async def slow(ctx: EventContext, _: None = Depends(holds)) -> None:
        await release.wait()

    async def join(ctx: JoinContext, _: None = Depends(holds)) -> None:
        await ctx.accept()

    async def admit(ctx: ConnectionContext, user: str = "", _: None = Depends(holds)) -> None:
        ctx.accept(user_id=user)

    # It is asked again and again, as a thread ends when it ends.
    setup = build(options=replace(UNLIMITED, max_kept_threads=2))
    setup.lobby.on_message("slow", slow, concurrent=True)
    setup.endpoint.create_channel("/held/:id", join)
    setup.pond.create_endpoint("/held", admit)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        for _ in range(2):
            ann.send("BROADCAST", ROOM, "slow")
        await settled()
        for _ in range(2):
            answer = (await bob.answer(bob.send("BROADCAST", ROOM, "slow"))).payload
            assert isinstance(answer, Fault)
            assert answer.code == 503
        refused = (await bob.join("/held/2")).payload
        assert isinstance(refused, Refused)
        assert refused.code == 503
        with pytest.raises(ConnectionRefused) as failure:
            async with connect(setup.pond, "/held?user=eve"):
                pass
        assert failure.value.code == 503
        assert caplog.text.count("Options.max_kept_threads (2)") == 1
        release.set()
        with anyio.fail_after(WAIT):
            while (await bob.join("/held/2")).event != "ACKNOWLEDGE":
                await anyio.lowlevel.checkpoint()


async def test_kept_threads_of_one_connection_are_its_share_and_others_have_theirs() -> None:
    running: list[str] = []
    release = anyio.Event()

    async def slow(ctx: EventContext, _: None = Depends(holds)) -> None:
        running.append(ctx.user.id)
        await release.wait()

    setup = build(options=Options(max_kept_threads=4, max_connection_threads=1))
    setup.lobby.on_message("slow", slow, concurrent=True)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        for peer in (ann, ann, ann, bob):
            peer.send("BROADCAST", ROOM, "slow")
        with anyio.fail_after(WAIT):
            while len(running) < 2:
                await anyio.lowlevel.checkpoint()
        await settled()
        assert sorted(running) == ["ann", "bob"]
        release.set()
        with anyio.fail_after(WAIT):
            while len(running) < 4:
                await anyio.lowlevel.checkpoint()


async def test_a_leave_handler_may_be_plain_beside_a_kept_dependency() -> None:
    seen: list[str] = []

    async def leave(ctx: LeaveContext, _: None = Depends(holds)) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(ctx.user.id)

    setup = build()
    setup.lobby.on_leave(leave)
    async with member(setup, "ann"):
        pass
    assert seen == ["ann"]


@pytest.mark.parametrize("name", ["max_threads", "max_connection_threads", "max_kept_threads"])
@pytest.mark.parametrize("value", [0, -1, None, 1.5])
def test_a_pond_without_threads_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        Options(**{name: value})  # type: ignore[arg-type]


async def test_a_leave_handler_waits_where_other_messages_are_refused() -> None:
    # No client is there to be told to try again, and what it cleans up would stay.
    seen: list[str] = []
    release = anyio.Event()

    async def slow(ctx: EventContext, _: None = Depends(holds)) -> None:
        await release.wait()

    async def leave(ctx: LeaveContext, _: None = Depends(holds)) -> None:
        seen.append(ctx.user.id)

    setup = build(options=Options(max_kept_threads=1))
    setup.lobby.on_message("slow", slow)
    setup.lobby.on_leave(leave)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        ann.send("BROADCAST", ROOM, "slow")
        await settled()
        bob.vanish()
        await settled()
        assert seen == []
        release.set()
        await bob.wait_closed()
        with anyio.fail_after(WAIT):
            while not seen:
                await anyio.lowlevel.checkpoint()
    assert seen == ["bob", "ann"]


@pytest.mark.parametrize("kept", [False, True])
async def test_a_message_whose_thread_cannot_start_is_answered(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plain(ctx: SyncEventContext) -> str:
        return "done"

    async def mixed(_: None = Depends(holds)) -> str:
        return "done"

    async def cannot_start(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    setup = build()
    setup.lobby.on_message("ask", mixed if kept else plain)
    async with member(setup, "ann") as ann:
        with monkeypatch.context() as patch:
            patch.setattr(anyio.to_thread, "run_sync", cannot_start)
            answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
        assert isinstance(answer.payload, Fault)
        assert answer.payload.code == 500
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask"), wait=WAIT)
        assert answer.payload == {"result": "done"}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_thread_counts_until_it_ends_whatever_cancels_its_task(anyio_backend: str) -> None:
    # A native cancellation passes the shields of anyio; trio has none.
    latch = Latch()
    threads = Threads(Options(max_threads=2, max_connection_threads=2), loop := Loop())
    loop.enter()
    for attempt in range(3):
        tasks = [
            asyncio.create_task(threads.run("ann", latch.wait, abandon=False)) for _ in range(2)
        ]
        if attempt == 0:
            await latch.until(2)
        await settled()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not latch.entered.acquire(blocking=False)
    latch.open()
    with anyio.fail_after(WAIT):
        await threads.run("ann", latch.wait, abandon=False)
