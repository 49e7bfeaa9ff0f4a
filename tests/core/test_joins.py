"""Joins: exactly one answer to each, and which."""

import anyio
import anyio.lowlevel
import pytest
from pondsocket import JoinContext, LeaveContext, Options, PondError, ServerActions
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged, NotFound, Refused

from tests.core.members import envelope_of, events, member, say, settled
from tests.core.ponds import ROOM, SECRET, build, error_records, logged_error, raise_secret


async def test_an_accepted_join_is_acknowledged_under_its_request_id() -> None:
    setup = build()
    async with connect(setup.pond, "/socket") as ann:
        request_id = ann.send("JOIN_CHANNEL", ROOM, "join", {"as": "guest"})
        await ann.receive_event("CONNECTION")
        answer = await ann.receive()

    assert envelope_of(answer) == (ServerActions.SYSTEM, "ACKNOWLEDGE", ROOM, request_id)
    assert answer.payload == Acknowledged()


async def outcome_of(join: object, **limits: float) -> tuple[Refused, MemoryPeer]:
    setup = build(join, options=Options(**limits))  # type: ignore[arg-type]
    async with connect(setup.pond, "/socket") as ann:
        request_id = ann.send("JOIN_CHANNEL", ROOM, "join")
        answer = await ann.answer(request_id)
        await settled()
        assert events(ann) == ["CONNECTION"]  # and exactly one answer
        assert await setup.lobby.list_channels() == []
    assert (answer.action, answer.event, answer.channel_name) == (
        ServerActions.SYSTEM,
        "UNAUTHORIZED",
        ROOM,
    )
    assert isinstance(answer.payload, Refused)
    return answer.payload, ann


async def test_a_declined_join_gets_the_handlers_code_and_message() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.decline(418, "I am a teapot")

    assert (await outcome_of(join))[0] == Refused(418, "I am a teapot")


async def test_a_join_that_is_not_decided_is_refused_with_401(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def join(ctx: JoinContext) -> None:
        await anyio.lowlevel.checkpoint()

    assert (await outcome_of(join))[0].code == 401
    assert "neither accepted nor declined" in error_records(caplog)[0].getMessage()


async def test_a_join_over_its_time_limit_is_refused_with_408() -> None:
    ended = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    assert (await outcome_of(join, join_timeout=0.02))[0].code == 408
    assert ended.is_set()


@pytest.mark.parametrize("waits", [False, True])
async def test_a_raising_join_handler_is_answered_500_and_its_text_stays_here(
    caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    async def join(ctx: JoinContext) -> None:
        await raise_secret(waits=waits)

    refused, _ = await outcome_of(join)
    assert refused.code == 500
    assert SECRET not in refused.message
    text = logged_error(caplog)
    for word in ("channel='/room/1'", "user=", "request="):
        assert word in text


async def test_a_pond_error_in_a_join_handler_is_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def join(ctx: JoinContext) -> None:
        raise PondError("The room is full.", 409)

    assert (await outcome_of(join))[0] == Refused(409, "The room is full.")
    assert error_records(caplog) == []


@pytest.mark.parametrize(
    "error", [LookupError(SECRET), PondError(SECRET, 409)], ids=["any", "PondError"]
)
async def test_a_handler_that_raises_after_it_has_accepted_keeps_the_membership(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await anyio.lowlevel.checkpoint()
        raise error

    setup = build(join)
    async with member(setup, "ann") as ann:
        say(ann, "still in")
        assert (await ann.receive()).payload == {"text": "still in"}
        await settled()
        assert not ann.unread
    assert len(error_records(caplog)) == 1


async def test_a_handler_that_raises_after_it_has_declined_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.decline(403, "no")
        raise LookupError

    assert (await outcome_of(join))[0] == Refused(403, "no")
    assert len(error_records(caplog)) == 1


async def test_the_time_limit_runs_to_the_decision_only() -> None:
    done = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await anyio.sleep(0.05)
        await ctx.broadcast("ready", {})
        done.set()

    setup = build(join, options=Options(join_timeout=0.02))
    async with member(setup, "ann") as ann:
        assert (await ann.receive()).event == "ready"
        assert done.is_set()


async def test_no_time_limit_may_be_set() -> None:
    async def join(ctx: JoinContext) -> None:
        await anyio.lowlevel.checkpoint()
        await ctx.accept()

    async with member(build(join, options=Options(join_timeout=None)), "ann") as ann:
        assert ann.closed is None


@pytest.mark.parametrize(
    "decide",
    [
        lambda ctx: ctx.decline(403, "bad \ud800 text"),
        lambda ctx: ctx.accept(response={"bad": object()}),
        lambda ctx: ctx.accept("not a mapping"),
    ],
)
async def test_a_decision_that_cannot_be_carried_out_is_still_answered(
    decide: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def join(ctx: JoinContext) -> None:
        await decide(ctx)  # type: ignore[operator]

    assert (await outcome_of(join))[0].code == 500
    assert len(error_records(caplog)) == 1


async def test_a_join_of_a_channel_without_a_lobby_is_not_found() -> None:
    async with connect(build().pond, "/socket") as ann:
        answer = await ann.join("/nowhere/1")

    assert (answer.action, answer.event, answer.channel_name) == (
        ServerActions.SYSTEM,
        "NOT_FOUND",
        "/nowhere/1",
    )
    assert isinstance(answer.payload, NotFound)
    assert (answer.payload.channel, answer.payload.code) == ("/nowhere/1", 404)


async def test_nothing_of_a_channel_precedes_its_acknowledgement() -> None:
    opened, join_waits = anyio.Event(), anyio.Event()

    async def join(ctx: JoinContext) -> None:
        if ctx.user.id == "ann":
            join_waits.set()
            await opened.wait()
        await ctx.broadcast("coming", {"who": ctx.user.id})
        await ctx.accept()
        await ctx.reply("welcome", {})
        await ctx.broadcast("here", {"who": ctx.user.id})
        await ctx.track({"who": ctx.user.id})

    setup = build(join)
    async with member(setup, "bob") as bob, connect(setup.pond, "/socket?user=ann") as ann:
        await ann.receive_event("CONNECTION")
        ann.send("JOIN_CHANNEL", ROOM, "join")
        await join_waits.wait()
        bob.drain()
        say(bob, "while ann waits")
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        await channel.broadcast_to("psst", {}, "ann")
        await settled()
        assert not ann.unread

        opened.set()
        await settled()
        assert events(ann) == ["ACKNOWLEDGE", "welcome", "here", "JOIN"]
        assert events(bob) == ["say", "coming", "here", "JOIN"]


async def test_a_declined_join_does_not_harm_another_in_flight() -> None:
    opened = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        if ctx.user.id == "ann":
            await opened.wait()
            await ctx.accept()
        else:
            await ctx.decline()

    setup = build(join)
    async with (
        connect(setup.pond, "/socket?user=ann") as ann,
        connect(setup.pond, "/socket") as eve,
    ):
        request_id = ann.send("JOIN_CHANNEL", ROOM, "join")
        await settled()
        assert (await eve.join(ROOM)).event == "UNAUTHORIZED"
        opened.set()
        assert (await ann.answer(request_id)).event == "ACKNOWLEDGE"
        say(ann, "in")
        assert (await ann.receive_event("say")).payload == {"text": "in"}


async def test_a_join_that_races_the_last_leave_gets_a_channel_that_works() -> None:
    opened = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        channel = ctx.channel
        if ctx.user.id == "ann":
            await opened.wait()
        await ctx.accept()
        assert ctx.channel is channel
        await ctx.track({"who": ctx.user.id})

    leaving = anyio.Event()

    async def leave(ctx: LeaveContext) -> None:
        await leaving.wait()

    setup = build(join)
    setup.lobby.on_leave(leave)
    async with member(setup, "bob") as bob, connect(setup.pond, "/socket?user=ann") as ann:
        request_id = ann.send("JOIN_CHANNEL", ROOM, "join")
        await settled()
        bob.send("LEAVE_CHANNEL", ROOM, "leave")
        await settled()
        assert await setup.lobby.get_channel(ROOM) is None
        opened.set()
        assert (await ann.answer(request_id)).event == "ACKNOWLEDGE"
        leaving.set()
        await settled()

        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert await channel.user_count() == 1
        assert await channel.get_presence() == {"ann": {"who": "ann"}}
        bob.drain()
        assert (await bob.join(ROOM)).event == "ACKNOWLEDGE"
        await settled()
        assert await setup.lobby.list_channels() == [channel]
        assert await channel.user_count() == 2
