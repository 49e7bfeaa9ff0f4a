"""The pond: its beginning and end, and what adapters ask of it."""

from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, ConnectionContext, EventContext, LeaveReason, Options, PondSocket
from pondsocket.adapter import Refusal
from pondsocket.testing import ConnectionRefused, MemoryPeer, connect
from pondsocket_common import Goodbye

from tests.core.members import LeaveLog, member, say, settled
from tests.core.ponds import (
    ROOM,
    SlowConnect,
    admit,
    admitted,
    assert_nothing_left,
    build,
    connecting,
    find_session,
    request,
    running,
    served,
)

# --- the end ----------------------------------------------------------------------------------


async def test_closing_tells_every_connection_and_waits_for_it() -> None:
    leaves, opened = LeaveLog(), anyio.Event()

    async def slow(ctx: EventContext) -> None:
        await opened.wait()

    setup = build()
    setup.lobby.on_leave(leaves)
    setup.lobby.on_message("slow", slow)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "", event="slow")
        await settled()
        async with running(setup.pond.close) as closed:
            await settled()
            assert not closed.is_set()  # ann's handler still runs
            opened.set()
        for peer in (ann, bob):
            assert peer.closed is CloseCode.GOING_AWAY
            goodbye = peer.unread[-1].payload
            assert isinstance(goodbye, Goodbye)
            assert (goodbye.code, goodbye.reconnect) == (CloseCode.GOING_AWAY, True)
        assert sorted(leaves.seen) == [
            ("ann", LeaveReason.CONNECTION_CLOSED),
            ("bob", LeaveReason.CONNECTION_CLOSED),
        ]
        await assert_nothing_left(setup)


async def test_closing_waits_for_leave_handlers_too() -> None:
    ended: list[str] = []

    async def leave(ctx: object) -> None:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        ended.append("left")

    setup = build()
    setup.lobby.on_leave(leave)
    async with member(setup, "ann"), member(setup, "bob"), member(setup, "eve"):
        await setup.pond.close()
        assert ended == ["left"] * 3


async def test_a_closed_pond_admits_no_client() -> None:
    setup = build()
    await setup.pond.close()

    outcome = await setup.pond.connect(request())
    assert isinstance(outcome, Refusal)
    assert (outcome.status, outcome.error, outcome.retry_after) == (503, "UNAVAILABLE", 1)


async def test_a_connection_that_is_being_decided_while_the_pond_closes_is_refused() -> None:
    slow = SlowConnect(ConnectionContext.accept)
    setup = build(connect=slow)
    async with connecting(setup.pond) as outcomes:
        await slow.asked.wait()
        await setup.pond.close()
        slow.opened.set()

    (outcome,) = outcomes
    assert isinstance(outcome, Refusal)
    assert outcome.status == 503


async def test_a_connection_that_was_admitted_before_the_pond_closed_is_told() -> None:
    setup = build()
    session = await admitted(setup.pond)
    await setup.pond.close()
    peer = await served(session)

    assert peer.closed is CloseCode.GOING_AWAY
    assert [message.event for message in peer.drain()] == ["CONNECTION", "GOODBYE"]
    await assert_nothing_left(setup)


async def test_a_second_lifespan_works() -> None:
    setup = build()
    for _ in range(2):
        async with setup.pond, member(setup, "ann") as ann:
            say(ann, "hi")
            assert (await ann.receive()).event == "say"
        with pytest.raises(ConnectionRefused, match="503"):
            async with connect(setup.pond, "/socket"):
                pass
        await assert_nothing_left(setup)


async def test_the_last_one_out_closes() -> None:
    setup = build()
    async with setup.pond:
        async with setup.pond.lifespan(object()):
            pass
        async with member(setup, "ann") as ann:
            assert ann.closed is None
    assert isinstance(await setup.pond.connect(request()), Refusal)


async def test_leaving_the_lifespan_closes_what_is_open() -> None:
    setup = build()
    async with anyio.create_task_group() as tasks:
        async with setup.pond:
            session = await admitted(setup.pond)
            peer = MemoryPeer(session)
            tasks.start_soon(session.run, peer, peer.pull)
            await peer.join(ROOM)
        assert peer.closed is CloseCode.GOING_AWAY
    await assert_nothing_left(setup)


async def test_without_any_lifespan_it_just_works() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        say(ann, "hi")
        assert (await ann.receive()).event == "say"
    async with member(setup, "ann"):
        pass
    await assert_nothing_left(setup)


async def test_a_handler_may_close_the_pond() -> None:
    async def shut_down(ctx: EventContext) -> None:
        await setup.pond.close()

    setup = build(options=Options(handler_grace=0.02))
    setup.lobby.on_message("shut down", shut_down)
    with anyio.fail_after(3):
        async with member(setup, "ann") as ann, member(setup, "bob") as bob:
            say(ann, "", event="shut down")
            assert await bob.wait_closed() is CloseCode.GOING_AWAY
            assert await ann.wait_closed() is CloseCode.GOING_AWAY
    await assert_nothing_left(setup)


# --- for adapters --------------------------------------------------------------------------------


async def test_a_path_without_an_endpoint_is_404() -> None:
    outcome = await build().pond.connect(request("/nowhere"))

    assert isinstance(outcome, Refusal)
    assert (outcome.status, outcome.error) == (404, "NOT_FOUND")


async def test_the_first_registered_endpoint_wins() -> None:
    pond = PondSocket()
    first = pond.create_endpoint("/:any", admit)
    second = pond.create_endpoint("/s*", admit)
    async with connect(pond, "/socket") as ann:
        await ann.receive()
        assert await first.connection_count() == 1
        assert await second.connection_count() == 0
    assert pond.find_endpoint("/socket") is first
    assert pond.find_endpoint("/a/b") is None


async def test_a_session_is_found_by_its_secret_id_at_its_own_path_alone() -> None:
    pond = PondSocket()
    pond.create_endpoint("/t/:tenant", admit)
    async with connect(pond, "/t/a?user=ann", transport="sse") as ann:
        await ann.receive()
        connection_id, request = ann.session.connection_id, ann.session.request
        assert await find_session(pond, connection_id, request) is ann.session
        for path in ("/t/b", "/nowhere"):
            assert await find_session(pond, connection_id, replace(request, path=path)) is None
        assert await find_session(pond, "ann", request) is None
    assert await find_session(pond, connection_id, request) is None
    async with connect(pond, "/t/a?user=ann") as ann:
        await ann.receive()
        connection_id = ann.session.connection_id
        assert await find_session(pond, connection_id, ann.session.request) is None
