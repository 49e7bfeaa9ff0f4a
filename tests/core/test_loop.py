"""The event loop of a pond: calls from others are refused, and what comes before it is kept."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import pytest
from pondsocket import (
    Channel,
    ChannelHandle,
    EventContext,
    History,
    JoinContext,
    PondSocket,
    UsageError,
)
from pondsocket.testing import connect

from tests.core.late_store import LateStore
from tests.core.members import channel_of, events, member, say, settled
from tests.core.ponds import ROOM, PondSetup, accept_join, build

# --- from the event loop of another thread ----------------------------------------------------


class Called(NamedTuple):
    """What a call may act for."""

    setup: PondSetup
    ctx: EventContext
    channel: Channel
    room: ChannelHandle


Call = Callable[[Called], Awaitable[object]]
CALLS: dict[str, Call] = {
    "room.broadcast": lambda at: at.room.broadcast("x", {}),
    "room.broadcast_to": lambda at: at.room.broadcast_to("x", {}, "ann"),
    "room.broadcast_from": lambda at: at.room.broadcast_from("x", {}, "bob"),
    "room.history": lambda at: at.room.history(),
    "room.evict_user": lambda at: at.room.evict_user("ann"),
    "room.get_presence": lambda at: at.room.get_presence(),
    "room.get_assigns": lambda at: at.room.get_assigns(),
    "room.user_count": lambda at: at.room.user_count(),
    "room.has_user": lambda at: at.room.has_user("ann"),
    "channel.broadcast": lambda at: at.channel.broadcast("x", {}),
    "channel.broadcast_to": lambda at: at.channel.broadcast_to("x", {}, "ann"),
    "channel.broadcast_from": lambda at: at.channel.broadcast_from("x", {}, "bob"),
    "channel.history": lambda at: at.channel.history(),
    "channel.evict_user": lambda at: at.channel.evict_user("ann"),
    "channel.get_presence": lambda at: at.channel.get_presence(),
    "channel.get_assigns": lambda at: at.channel.get_assigns(),
    "channel.user_count": lambda at: at.channel.user_count(),
    "channel.has_user": lambda at: at.channel.has_user("ann"),
    "ctx.reply": lambda at: at.ctx.reply("x", {}),
    "ctx.broadcast": lambda at: at.ctx.broadcast("x", {}),
    "ctx.broadcast_to": lambda at: at.ctx.broadcast_to("x", {}, "ann"),
    "ctx.broadcast_from": lambda at: at.ctx.broadcast_from("x", {}),
    "ctx.history": lambda at: at.ctx.history(),
    "ctx.track": lambda at: at.ctx.track({"a": 1}),
    "ctx.untrack": lambda at: at.ctx.untrack(),
    "ctx.evict": lambda at: at.ctx.evict(),
    "ctx.get_all_presence": lambda at: at.ctx.get_all_presence(),
    "ctx.get_all_assigns": lambda at: at.ctx.get_all_assigns(),
    "pond.disconnect": lambda at: at.setup.pond.disconnect(user_id="ann"),
    "pond.drain": lambda at: at.setup.pond.drain(0),
    "pond.close": lambda at: at.setup.pond.close(),
    "endpoint.connection_count": lambda at: at.setup.endpoint.connection_count(),
    "endpoint.close_connection": lambda at: at.setup.endpoint.close_connection("ann"),
    "lobby.get_channel": lambda at: at.setup.lobby.get_channel(ROOM),
    "lobby.list_channels": lambda at: at.setup.lobby.list_channels(),
}


def in_thread(work: Callable[[], object]) -> object:
    """Return what a call gives, or the error that it raises, in a thread that ends with it."""
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(work())
        except Exception as error:  # noqa: BLE001 - that is looked at
            outcomes.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(5)
    return outcomes[0]


@pytest.mark.parametrize("other", ["asyncio", "trio"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_in_another_event_loop_is_refused_and_does_nothing(
    name: str, other: str
) -> None:
    setup = build()
    errors: list[object] = []

    @setup.lobby.on_message("go")
    async def go(ctx: EventContext) -> None:
        room = setup.pond.channel("/socket", ROOM)
        called = Called(setup, ctx, await channel_of(setup), room)

        async def call() -> object:
            return await CALLS[name](called)

        errors.append(in_thread(lambda: anyio.run(call, backend=other)))

    async with member(setup, "ann") as ann, member(setup, "bob"):
        ann.drain()
        say(ann, "", event="go")
        say(ann, "later")
        assert (await ann.receive()).payload == {"text": "later"}
        await settled()
        assert (events(ann), ann.closed) == ([], None)
    (error,) = errors
    assert isinstance(error, UsageError)
    said = str(error)
    assert (
        "broadcast_nowait" in said or "broadcast_to_nowait" in said or "from_nowait" in said
    ) is ("broadcast" in name)
    assert "broadcast" in name or "run_coroutine_threadsafe" in said


@pytest.mark.parametrize("method", ["accept", "decline"])
async def test_a_join_is_not_decided_in_another_event_loop(method: str) -> None:
    errors: list[object] = []

    async def join(ctx: JoinContext) -> None:
        errors.append(in_thread(lambda: anyio.run(getattr(ctx, method))))
        await ctx.accept()

    async with connect(build(join).pond, "/socket") as ann:
        assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
    assert isinstance(errors[0], UsageError)


async def test_a_plain_thread_without_a_loop_is_sent_to_the_right_call() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        room = setup.pond.channel("/socket", ROOM)

        def work() -> None:
            coroutine = room.broadcast("x", {})
            with pytest.raises(UsageError, match=r"`broadcast_nowait\(…\)`, which any thread"):
                coroutine.send(None)
            room.broadcast_nowait("y", {})

        await anyio.to_thread.run_sync(work)
        assert (await ann.receive()).event == "y"


async def test_a_pond_may_serve_in_a_loop_after_another_one_has_ended() -> None:
    setup = build()

    async def serve() -> None:
        async with member(setup, "ann") as ann:
            say(ann, "hi")
            assert (await ann.receive()).payload == {"text": "hi"}

    async def count() -> int:
        return await setup.pond.channel("/socket", ROOM).user_count()

    assert in_thread(lambda: anyio.run(serve)) is None
    assert in_thread(lambda: anyio.run(count, backend="trio")) == 0
    await setup.pond.channel("/socket", ROOM).broadcast("x", {})
    await serve()


async def test_a_pond_that_serves_in_two_loops_goes_on_in_both() -> None:
    setup = build()

    async def serve() -> None:
        async with member(setup, "ann", "/room/2") as ann:
            say(ann, "hi", "/room/2")
            assert (await ann.receive()).payload == {"text": "hi"}

    async with member(setup, "bob") as bob:
        await anyio.to_thread.run_sync(in_thread, lambda: anyio.run(serve))
        say(bob, "hi")
        assert (await bob.receive()).payload == {"text": "hi"}


# --- before there is a loop -------------------------------------------------------------------


def with_news(**options: Any) -> tuple[PondSetup, ChannelHandle]:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept(history=9)

    setup = build()
    setup.endpoint.create_channel("/news", join, history=History(size=9), **options)
    return setup, setup.pond.channel("/socket", "/news")


async def heard_by_the_next(pond: PondSocket, user: str = "ann") -> list[object]:
    async with connect(pond, f"/socket?user={user}") as ann:
        await ann.join("/news")
        await settled()
        return [each.payload["n"] for each in ann.drain() if isinstance(each.payload, dict)]


async def test_what_threads_publish_before_there_is_a_loop_is_kept_in_order() -> None:
    setup, room = with_news()
    for n in range(3):
        assert in_thread(lambda n=n: room.broadcast_nowait("news", {"n": n})) is None  # type: ignore[misc]
    room.broadcast_nowait("news", {"n": 3})
    await room.broadcast("news", {"n": 4})
    in_thread(lambda: room.broadcast_to_nowait("news", {"n": 5}, "bob"))
    in_thread(lambda: room.broadcast_from_nowait("news", {"n": 6}, "bob"))
    in_thread(lambda: room.broadcast_nowait("news", {"n": 7}, history=False))
    assert await heard_by_the_next(setup.pond) == [0, 1, 2, 3, 4, 6]
    assert await heard_by_the_next(setup.pond, "bob") == [0, 1, 2, 3, 4, 5]


async def test_threads_that_publish_at_once_before_there_is_a_loop_lose_nothing() -> None:
    setup, room = with_news()
    started = threading.Barrier(3)

    def publish(name: str) -> None:
        started.wait(5)
        for n in range(3):
            room.broadcast_nowait("news", {"n": f"{name}{n}"})

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join, 5)
    heard = await heard_by_the_next(setup.pond)
    for name in "abc":
        assert [each for each in heard if str(each)[0] == name] == [f"{name}{n}" for n in range(3)]


async def test_before_there_is_a_loop_the_history_bounds_what_is_kept() -> None:
    setup, room = with_news()

    def publish() -> None:
        for n in range(2_000):
            room.broadcast_nowait("news", {"n": n})

    assert in_thread(publish) is None
    assert await heard_by_the_next(setup.pond) == list(range(1_991, 2_000))


async def test_a_history_that_answers_late_says_so_before_there_is_a_loop() -> None:
    setup, room = with_news()
    lobby = setup.endpoint.routing.lobbies.match("/news")
    assert lobby is not None
    lobby[0].history_store = LateStore(History(size=9))
    error = in_thread(lambda: room.broadcast_nowait("news", {"n": 1}))
    assert isinstance(error, UsageError)


def test_without_a_history_nothing_is_kept_and_nothing_is_left() -> None:
    setup = build()
    setup.endpoint.create_channel("/plain", accept_join)
    room = setup.pond.channel("/socket", "/plain")
    assert in_thread(lambda: room.broadcast_nowait("x", {})) is None
    assert not setup.lobby._channels
