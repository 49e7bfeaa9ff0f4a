"""Channels from outside their handlers: other coroutines, and other threads."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pondsocket import (
    ChannelHandle,
    CloseCode,
    EncodingError,
    EventContext,
    JoinContext,
    PondSocket,
    SyncEventContext,
    UsageError,
)
from pondsocket.testing import connect
from pondsocket_common import Evicted, Goodbye
from pydantic import BaseModel

from tests.core.members import events, member, settled
from tests.core.ponds import ROOM, admit, build


class News(BaseModel):
    text: str


async def test_a_handle_broadcasts_to_all_to_some_and_to_all_but_one() -> None:
    setup = build()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        handle = setup.pond.channel("/socket", ROOM)
        assert handle.name == ROOM
        await handle.broadcast("all", News(text="hi"))
        await handle.broadcast_to("one", {}, "ann")
        await handle.broadcast_from("others", {}, "ann")
        first = ann.unread[0]
        assert (first.action, first.channel_name, first.payload) == (
            "BROADCAST",
            ROOM,
            {"text": "hi"},
        )
        assert (events(ann), events(bob)) == (["all", "one"], ["all", "others"])


async def test_a_handle_sees_and_evicts_users() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept({"colour": "red"})
        await ctx.track({"name": ctx.user.id})

    setup = build(join)
    handle = setup.pond.channel("/socket", ROOM)
    assert (await handle.user_count(), await handle.get_presence()) == (0, {})
    async with member(setup, "ann") as ann:
        assert await handle.has_user("ann")
        assert await handle.user_count() == 1
        assert await handle.get_presence() == {"ann": {"name": "ann"}}
        assert (await handle.get_assigns())["ann"]["colour"] == "red"
        await handle.evict_user("ann", "out")
        assert (await ann.receive_event("EVICTED")).payload == Evicted("out")
        assert not await handle.has_user("ann")
        assert ann.closed is None


async def test_a_channel_without_members_takes_everything_and_leaves_nothing() -> None:
    setup = build()
    handle = setup.pond.channel("/socket", "/room/empty")
    await handle.broadcast("x", {})
    handle.broadcast_nowait("x", {})
    await handle.evict_user("ann")
    assert not await handle.has_user("ann")
    assert await setup.lobby.list_channels() == []
    assert not setup.lobby._channels


async def test_a_handle_outlives_its_members() -> None:
    setup = build()
    handle = setup.pond.channel("/socket", ROOM)
    for _ in range(2):
        async with member(setup, "ann") as ann:
            await handle.broadcast("x", {})
            handle.broadcast_nowait("y", {})
            assert events(ann) == ["x", "y"]


@pytest.mark.parametrize(
    ("path", "name", "words"),
    [
        ("/nowhere", ROOM, "There is no endpoint '/nowhere'; registered: /socket"),
        ("/socket", "/other/1", "No channel pattern of '/socket' matches '/other/1'"),
        ("/socket", "room/1", "No channel pattern"),
        ("/socket", "/room/1/", "No channel pattern"),
        ("/socket", "", "No channel pattern"),
        ("/socket", "GATEWAY", "No channel pattern"),
        ("/socket", 1, "No channel pattern of '/socket' matches 1."),
        ("/socket", None, "No channel pattern of '/socket' matches None."),
    ],
)
def test_a_channel_without_a_lobby_is_a_usage_error(path: str, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace(".", r"\.")):
        build().pond.channel(path, name)


def test_a_name_whose_type_does_not_fit_is_served_by_no_lobby() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)

    async def numbered(ctx: JoinContext, room_id: int) -> None: ...

    endpoint.create_channel("/chat/:room_id", numbered)
    assert pond.channel("/socket", "/chat/5").name == "/chat/5"
    with pytest.raises(UsageError):
        pond.channel("/socket", "/chat/five")


CALLS: dict[str, Callable[[ChannelHandle, str, Any], None]] = {
    "all": lambda handle, event, payload: handle.broadcast_nowait(event, payload),
    "to": lambda handle, event, payload: handle.broadcast_to_nowait(event, payload, "ann"),
    "from": lambda handle, event, payload: handle.broadcast_from_nowait(event, payload, "bob"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("from_thread", [False, True])
async def test_nowait_works_from_any_thread_the_loops_included(
    call: Callable[[ChannelHandle, str, Any], None], from_thread: bool
) -> None:
    setup = build()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        handle = setup.pond.channel("/socket", ROOM)
        if from_thread:
            await anyio.to_thread.run_sync(call, handle, "x", {"n": 1})
        else:
            call(handle, "x", {"n": 1})
        assert (await ann.receive_event("x")).payload == {"n": 1}
        await settled()
        assert [event for event in events(bob) if event == "x"] == (
            ["x"] if call is CALLS["all"] else []
        )


async def test_nowait_keeps_the_order_of_each_thread() -> None:
    setup = build()

    def work(name: str) -> None:
        handle = setup.pond.channel("/socket", ROOM)
        for n in range(200):
            handle.broadcast_nowait(name, {"n": n})

    async with member(setup, "ann") as ann:
        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join, 5)
        with anyio.fail_after(5):
            while len(ann.unread) < 800:
                await anyio.lowlevel.checkpoint()
        heard: dict[str, list[int]] = {}
        for message in ann.drain():
            assert isinstance(message.payload, dict)
            heard.setdefault(message.event, []).append(message.payload["n"])
    assert heard == {f"t{n}": list(range(200)) for n in range(4)}


async def test_nowait_in_the_loop_keeps_its_order_with_broadcast() -> None:
    setup = build()

    @setup.lobby.on_message("mixed")
    async def mixed(ctx: EventContext) -> None:
        handle = setup.pond.channel("/socket", ROOM)
        await ctx.broadcast("1", {})
        handle.broadcast_nowait("2", {})
        await ctx.reply("3", {})
        handle.broadcast_nowait("4", {})

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "mixed")
        await settled()
        assert events(ann) == ["1", "2", "3", "4"]


async def test_nowait_in_a_plain_handler_keeps_its_order_with_its_context() -> None:
    setup = build()

    @setup.lobby.on_message("mixed")
    def mixed(ctx: SyncEventContext) -> str:
        handle = setup.pond.channel("/socket", ROOM)
        for n in range(5):
            handle.broadcast_nowait(f"a{n}", {})
            ctx.broadcast(f"b{n}", {})
        return "done"

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "mixed")
        await ann.receive_event("b4")
        assert (await ann.receive()).event == "mixed"


async def test_what_is_changed_after_the_call_was_sent_as_it_was() -> None:
    setup = build()

    def work() -> None:
        payload: dict[str, Any] = {"inner": {"n": 1}}
        setup.pond.channel("/socket", ROOM).broadcast_nowait("x", payload)
        payload["inner"]["n"] = 2

    async with member(setup, "ann") as ann:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(5)  # blocks the loop, so that it comes to it afterwards
        assert (await ann.receive_event("x")).payload == {"inner": {"n": 1}}


@pytest.mark.parametrize(
    ("event", "payload", "error"),
    [
        ("ACKNOWLEDGE", {}, UsageError),
        ("", {}, UsageError),
        ("x", [1], UsageError),
        ("x", {"n": object()}, EncodingError),
        ("x", {"n": 2**64}, EncodingError),
    ],
)
@pytest.mark.parametrize("from_thread", [False, True])
async def test_errors_in_the_arguments_are_raised_where_it_is_called(
    event: str, payload: Any, error: type[Exception], from_thread: bool
) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        handle = setup.pond.channel("/socket", ROOM)
        if from_thread:
            with pytest.raises(error):
                await anyio.to_thread.run_sync(handle.broadcast_nowait, event, payload)
        else:
            with pytest.raises(error):
                handle.broadcast_nowait(event, payload)
        await settled()
        assert events(ann) == []


def test_before_any_connection_no_client_hears_and_nothing_fails() -> None:
    handle = build().pond.channel("/socket", ROOM)
    handle.broadcast_nowait("x", {})
    with pytest.raises(UsageError):
        handle.broadcast_nowait("ACKNOWLEDGE", {})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_after_the_loop_has_ended_it_is_a_usage_error(backend: str) -> None:
    setup = build()

    async def main() -> None:
        async with setup.pond:
            pass

    def run() -> None:
        anyio.run(main, backend=backend)

    loop = threading.Thread(target=run)
    loop.start()
    loop.join(5)
    outcome: list[BaseException] = []

    def call() -> None:
        try:
            setup.pond.channel("/socket", ROOM).broadcast_nowait("x", {})
        except UsageError as error:
            outcome.append(error)

    # Its number may be that of the thread that has ended.
    caller = threading.Thread(target=call)
    caller.start()
    caller.join(5)
    assert ["loop has ended" in str(error) for error in outcome] == [True]


async def test_a_pond_follows_its_loop_to_another_one() -> None:
    setup = build()

    async def main() -> None:
        async with member(setup, "ann") as ann:
            call = setup.pond.channel("/socket", ROOM).broadcast_nowait
            await anyio.to_thread.run_sync(call, "x", {})
            await ann.receive_event("x")

    def run() -> None:
        for backend in ("asyncio", "trio"):
            anyio.run(main, backend=backend)

    await anyio.to_thread.run_sync(run)


# --- disconnect -------------------------------------------------------------------------------


async def test_disconnect_closes_every_connection_of_a_user_at_every_endpoint() -> None:
    setup = build()
    setup.pond.create_endpoint("/other", admit)
    async with (
        connect(setup.pond, "/socket?user=ann") as one,
        connect(setup.pond, "/other?user=ann") as two,
        connect(setup.pond, "/socket?user=bob") as bob,
    ):
        for peer in (one, two, bob):
            await peer.receive_event("CONNECTION")
        await setup.pond.disconnect(user_id="ann", reason="banned")
        for peer in (one, two):
            goodbye = await peer.receive_event("GOODBYE")
            assert goodbye.payload == Goodbye(4403, "banned", False, 0)
            assert await peer.wait_closed() == CloseCode.DISCONNECTED
        await settled()
        assert bob.closed is None


async def test_disconnect_may_have_another_code_and_a_number_for_a_user() -> None:
    async def numbered(ctx: Any) -> None:
        ctx.accept(user_id=7)

    setup = build(connect=numbered)
    async with connect(setup.pond, "/socket") as peer:
        await peer.receive_event("CONNECTION")
        await setup.pond.disconnect(user_id="7", code=CloseCode.UNAUTHENTICATED)
        assert await peer.wait_closed() == CloseCode.UNAUTHENTICATED
