"""Draining a pond: its phases, who waits for it, and who comes in between."""

import itertools

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, ConnectionContext, EventContext, Options
from pondsocket._state.lifecycle import PHASES, Phase, PhaseEvent
from pondsocket.adapter import Refusal
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Goodbye, ServerMessage

from tests.core.members import events, goodbyes, many_members, member, say, settled
from tests.core.ponds import (
    SlowConnect,
    admitted,
    assert_nothing_left,
    build,
    connecting,
    request,
    running,
    served,
)
from tests.virtual_time import jumping_loops

# A window of ten seconds takes none.
anyio_backend = jumping_loops


# --- the pond ---------------------------------------------------------------------------------


async def test_a_draining_pond_admits_no_client_and_says_when_to_come_back() -> None:
    setup = build()
    pond = setup.pond
    assert (pond.is_ready, pond.is_draining) == (True, False)
    pond.begin_drain()
    assert (pond.is_ready, pond.is_draining) == (False, True)

    outcome = await pond.connect(request())
    assert isinstance(outcome, Refusal)
    assert (outcome.status, outcome.error, outcome.retry_after) == (503, "UNAVAILABLE", 1)
    await pond.close()
    assert (pond.is_ready, pond.is_draining) == (False, False)


async def test_a_drain_returns_when_the_last_connection_has_ended() -> None:
    setup = build()
    async with many_members(setup, 20) as peers:
        began = anyio.current_time()
        await setup.pond.drain()
        assert all(peer.closed is CloseCode.RESTART for peer in peers)
        assert anyio.current_time() - began <= 0.25
        await assert_nothing_left(setup)


async def test_a_drain_without_connections_returns_at_once() -> None:
    setup = build()
    await setup.pond.drain()
    assert setup.pond.is_draining


def test_a_drain_without_connections_needs_no_event_loop() -> None:
    setup = build()
    setup.pond.begin_drain()
    assert setup.pond.is_draining


async def test_a_drain_waits_for_handlers_that_still_run() -> None:
    opened, done = anyio.Event(), anyio.Event()

    async def slow(ctx: EventContext) -> None:
        await opened.wait()
        done.set()

    setup = build()
    setup.lobby.on_message("slow", slow)
    async with member(setup, "ann") as ann:
        say(ann, "", event="slow")
        await settled()
        async with running(setup.pond.drain) as drained:
            await ann.wait_closed()
            assert not drained.is_set()
            opened.set()
            await drained.wait()
        assert done.is_set()


async def test_a_second_drain_waits_with_the_first() -> None:
    setup = build()
    async with many_members(setup, 10) as peers, anyio.create_task_group() as tasks:
        tasks.start_soon(setup.pond.drain)
        await setup.pond.drain(0.0)
        assert all(peer.closed is CloseCode.RESTART for peer in peers)
        assert all(len(goodbyes(peer)) == 1 for peer in peers)


async def test_a_drain_that_is_cancelled_goes_on_by_itself() -> None:
    setup = build()
    async with many_members(setup, 10) as peers:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await setup.pond.drain()
        assert scope.cancelled_caught
        assert setup.pond.is_draining
        for peer in peers:
            assert await peer.wait_closed() is CloseCode.RESTART


async def test_a_handler_may_begin_a_drain() -> None:
    async def stop(ctx: EventContext) -> None:
        setup.pond.begin_drain()
        await ctx.reply("stopping", {})

    setup = build()
    setup.lobby.on_message("stop", stop)
    async with member(setup, "ann") as ann:
        say(ann, "", event="stop")
        assert await ann.wait_closed() is CloseCode.RESTART
        assert events(ann) == ["GOODBYE", "stopping"]


async def test_a_handler_that_waits_for_the_drain_ends_with_its_grace() -> None:
    """A leave handler that drains does not wait for itself."""

    async def stop(ctx: EventContext) -> None:
        await setup.pond.drain()

    setup = build(options=Options(handler_grace=0.5))
    setup.lobby.on_message("stop", stop)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        began = anyio.current_time()
        say(ann, "", event="stop")
        await ann.wait_closed()
        await ann.session.wait_ended()
        assert anyio.current_time() - began < 2
        assert await bob.wait_closed() is CloseCode.RESTART


async def test_a_close_ends_a_drain_at_once() -> None:
    setup = build()
    async with many_members(setup, 10) as peers, anyio.create_task_group() as tasks:
        tasks.start_soon(setup.pond.drain)
        await anyio.lowlevel.checkpoint()
        setup.pond.begin_drain()
        await setup.pond.close()
        for peer in peers:
            assert peer.closed in (CloseCode.GOING_AWAY, CloseCode.RESTART)
            told = [goodbye.code for goodbye in goodbyes(peer)]
            assert told == list(dict.fromkeys([CloseCode.RESTART, peer.closed]))
        assert not setup.pond.is_draining


async def test_a_drain_after_a_close_changes_nothing() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(setup.pond.close)
            await settled()
            await setup.pond.drain()
        assert not setup.pond.is_draining
        assert ann.closed is CloseCode.GOING_AWAY
        assert len(goodbyes(ann)) == 1


async def test_a_pond_entered_again_after_a_drain_lets_people_in() -> None:
    setup = build()
    async with setup.pond, member(setup, "ann") as ann:
        await setup.pond.drain()
        assert ann.closed is CloseCode.RESTART
    async with setup.pond:
        assert setup.pond.is_ready
        async with member(setup, "bob") as bob:
            say(bob, "again")
            await bob.receive_event("say")
            setup.pond.begin_drain()
            assert await bob.wait_closed() is CloseCode.RESTART
    assert not setup.pond.is_ready


async def test_a_pond_left_while_it_drains_is_closed() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        async with setup.pond:
            setup.pond.begin_drain()
        assert ann.closed is CloseCode.GOING_AWAY
        assert [g.code for g in goodbyes(ann)] == [CloseCode.RESTART, CloseCode.GOING_AWAY]


# --- those who come in between ----------------------------------------------------------------


async def test_a_connection_that_is_being_decided_when_the_drain_begins_is_refused() -> None:
    slow = SlowConnect(ConnectionContext.accept)
    setup = build(connect=slow)
    async with anyio.create_task_group() as tasks:
        refused = anyio.Event()

        async def knock() -> None:
            with pytest.raises(ConnectionRefused) as caught:
                async with connect(setup.pond, "/socket"):
                    pass
            assert caught.value.code == 503
            refused.set()

        tasks.start_soon(knock)
        await slow.asked.wait()
        await setup.pond.drain()
        slow.opened.set()
        await refused.wait()


async def test_one_admitted_but_not_yet_served_when_the_drain_begins_is_told_at_once() -> None:
    setup = build()
    session = await admitted(setup.pond)
    setup.pond.begin_drain()
    peer = await served(session)

    assert peer.closed is CloseCode.RESTART
    seen = peer.drain()
    assert [message.event for message in seen] == ["CONNECTION", "GOODBYE"]
    assert after_ms(seen[1]) == 0
    await assert_nothing_left(setup)


async def test_a_refusal_of_the_application_is_given_also_in_a_drain() -> None:
    """A client that is never admitted need not come back."""
    slow = SlowConnect(lambda ctx: ctx.decline(401, "Who are you?"))
    setup = build(connect=slow)
    async with connecting(setup.pond) as outcomes:
        await slow.asked.wait()
        setup.pond.begin_drain()
        slow.opened.set()
    (outcome,) = outcomes
    assert isinstance(outcome, Refusal)
    assert outcome.status == 401


def after_ms(message: ServerMessage) -> int | None:
    assert isinstance(message.payload, Goodbye)
    return message.payload.after_ms


# --- the machine ------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "event"), [*itertools.product(Phase, PhaseEvent)])
def test_every_pair_of_phase_and_event(phase: Phase, event: PhaseEvent) -> None:
    expected = {
        (Phase.OPEN, PhaseEvent.ENTER): None,
        (Phase.OPEN, PhaseEvent.DRAIN): Phase.DRAINING,
        (Phase.OPEN, PhaseEvent.CLOSE): Phase.CLOSED,
        (Phase.DRAINING, PhaseEvent.ENTER): Phase.OPEN,
        (Phase.DRAINING, PhaseEvent.DRAIN): None,
        (Phase.DRAINING, PhaseEvent.CLOSE): Phase.CLOSED,
        (Phase.CLOSED, PhaseEvent.ENTER): Phase.OPEN,
        (Phase.CLOSED, PhaseEvent.DRAIN): None,
        (Phase.CLOSED, PhaseEvent.CLOSE): None,
    }
    assert PHASES.get((phase, event)) is expected[phase, event]
