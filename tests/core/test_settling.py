"""What tests ask of a pond that serves their clients."""

from functools import partial
from time import sleep

import anyio
import pytest
from pondsocket import EventContext, Handler, Options, SyncEventContext, UsageError
from pondsocket.testing import clock_of, connect, failures, settle

from tests.core.members import members, say
from tests.core.ponds import ROOM, build


def slowly(ctx: SyncEventContext) -> None:
    sleep(0.02)
    ctx.broadcast("done", {})


async def later(ctx: EventContext) -> None:
    await anyio.sleep(0.02)
    await ctx.broadcast("done", {})


@pytest.mark.parametrize("handler", [slowly, later])
async def test_what_handlers_send_has_arrived_once_it_is_settled(handler: Handler) -> None:
    setup = build()
    setup.lobby.on_message("go", handler)
    async with members(setup, "ann", "bob") as (ann, bob):
        say(ann, "", event="go")
        await settle(setup.pond)
        assert [message.event for message in bob.drain()] == ["done"]


async def test_a_handler_that_hangs_is_told_with_its_user() -> None:
    async def hang(ctx: EventContext) -> None:
        await anyio.sleep_forever()

    setup = build(options=Options(handler_grace=0.01))
    setup.lobby.on_message("go", hang)
    async with members(setup, "ann", "bob") as (ann, _):
        say(ann, "", event="go")
        with pytest.raises(TimeoutError, match=r"still run after 0\.05 s, for messages of 'ann'"):
            await settle(setup.pond, wait=0.05)


async def test_failures_are_collected_while_the_block_lasts() -> None:
    async def fail(ctx: EventContext) -> None:
        raise LookupError("mine")

    setup = build()
    setup.lobby.on_message("go", fail)
    async with members(setup, "ann") as (ann,):
        with failures(setup.pond) as seen:
            say(ann, "", event="go")
            await ann.receive()
        say(ann, "", event="go")
        await ann.receive()
    assert [(each.event, str(each.error), each.user_id) for each in seen] == [
        ("go", "mine", "ann"),
    ]


async def test_connections_go_by_the_clock_of_the_block() -> None:
    setup = build(options=Options(event_rate=1, event_burst=1))
    with clock_of(setup.pond) as clock:
        async with connect(setup.pond, "/socket?user=ann") as ann:
            await ann.join(ROOM)
            ask = partial(say, ann, "hi")
            ask()
            assert (await ann.receive_event("say")).event == "say"
            assert (await ann.answer(ask())).event == "RATE_LIMITED"
            clock.advance(1)
            ask()
            assert (await ann.receive_event("say")).event == "say"
            with (
                pytest.raises(UsageError, match="before the first client"),
                clock_of(setup.pond, clock),
            ):
                pass
    assert setup.pond._environment.clock is not clock
