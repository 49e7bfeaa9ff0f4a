"""Events and leaves, and which answer each gets."""

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    ErrorTypes,
    EventContext,
    JoinContext,
    LeaveContext,
    Next,
    Options,
    PondError,
    PondSocket,
    ServerActions,
    UsageError,
)
from pondsocket.testing import connect
from pondsocket_common import Fault, Left, Refused

from tests.core.members import envelope_of, events, member, say, settled
from tests.core.ponds import (
    ROOM,
    SECRET,
    accept_join,
    admit,
    build,
    error_records,
    logged_error,
    raise_secret,
)

# --- events -----------------------------------------------------------------------------------


async def test_an_event_goes_to_the_first_registered_pattern_that_matches() -> None:
    async def first(ctx: EventContext) -> None:
        await ctx.reply("first", {"route": dict(ctx.route.params), "rest": ctx.route.rest})

    async def second(ctx: EventContext) -> None:
        await ctx.reply("second", {})

    setup = build()
    setup.lobby.on_message("item-:id", first)
    setup.lobby.on_message("user::*", first)
    setup.lobby.on_message(":any", second)
    async with member(setup, "ann") as ann:
        say(ann, "", event="item-7")
        say(ann, "", event="user:created")
        answers = [await ann.receive() for _ in range(2)]

    assert [answer.event for answer in answers] == ["first", "first"]
    assert answers[0].payload == {"route": {"id": "7"}, "rest": None}
    assert answers[1].payload == {"route": {}, "rest": "created"}


async def test_an_event_without_a_handler_is_answered_404() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        request_id = say(ann, "", event="unknown")
        answer = await ann.receive()

    assert envelope_of(answer) == (ServerActions.ERROR, "HANDLER_NOT_FOUND", ROOM, request_id)
    assert isinstance(answer.payload, Fault)
    assert (answer.payload.error, answer.payload.code) == (ErrorTypes.HANDLER_NOT_FOUND, 404)


@pytest.mark.parametrize("waits", [False, True])
async def test_a_raising_event_handler_is_answered_500_and_its_text_stays_here(
    caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    async def handler(ctx: EventContext) -> None:
        await raise_secret(waits=waits)

    setup = build()
    setup.lobby.on_message("fail", handler)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        request_id = say(ann, "", event="fail")
        answer = await ann.receive()
        say(ann, "goes on")
        assert (await ann.receive()).payload == {"text": "goes on"}
        assert events(bob) == ["say"]

    assert envelope_of(answer) == (ServerActions.ERROR, "INTERNAL_SERVER_ERROR", ROOM, request_id)
    assert isinstance(answer.payload, Fault)
    assert answer.payload.code == 500
    assert SECRET not in answer.payload.message
    text = logged_error(caplog)
    for word in ("event='fail'", "channel='/room/1'", "user='ann'", f"request='{request_id}'"):
        assert word in text


async def test_a_pond_error_in_an_event_handler_is_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ctx: EventContext) -> None:
        raise PondError(f"No {ctx.get_payload()['text']} here.", 409)

    setup = build()
    setup.lobby.on_message("fail", handler)
    async with member(setup, "ann") as ann:
        request_id = say(ann, "tea", event="fail")
        answer = await ann.receive()

    assert (answer.action, answer.event, answer.request_id) == (
        ServerActions.ERROR,
        "CHANNEL_ERROR",
        request_id,
    )
    assert answer.payload == Fault(ErrorTypes.CHANNEL_ERROR, 409, "No tea here.")
    assert error_records(caplog) == []


async def test_a_pond_error_that_utf8_cannot_say_does_not_end_the_connection() -> None:
    async def handler(ctx: EventContext) -> None:
        raise PondError("file \udcff")

    setup = build()
    setup.lobby.on_message("fail", handler)
    async with member(setup, "ann") as ann:
        say(ann, "", event="fail")
        assert (await ann.receive()).event == "CHANNEL_ERROR"
        assert ann.closed is None


# --- leaves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ROOM, "/room/2", "/nowhere"])
async def test_a_leave_is_acknowledged_also_where_there_was_nothing_to_leave(name: str) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        request_id = ann.send("LEAVE_CHANNEL", name, "leave")
        answer = await ann.receive()

    assert envelope_of(answer) == (ServerActions.SYSTEM, "EXIT_ACKNOWLEDGE", name, request_id)
    assert answer.payload == Left()


async def test_who_has_left_is_no_member_and_may_come_back() -> None:
    setup = build()
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        say(ann, "gone!")
        await settled()
        say(bob, "gone?")
        await settled()
        assert events(ann) == ["EXIT_ACKNOWLEDGE", "UNAUTHORIZED_BROADCAST"]
        assert events(bob) == ["say"]
        assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"


async def test_a_raising_leave_handler_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leave(ctx: LeaveContext) -> None:
        raise LookupError(SECRET)

    setup = build()
    setup.lobby.on_leave(leave)
    async with member(setup, "ann") as ann:
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        assert (await ann.receive()).event == "EXIT_ACKNOWLEDGE"
        assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
    assert len(error_records(caplog)) == 2
    assert "channel='/room/1' user='ann'" in error_records(caplog)[0].getMessage()


async def test_a_leave_handler_over_its_time_limit_is_cut_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def leave(ctx: LeaveContext) -> None:
        await anyio.sleep_forever()

    setup = build(options=Options(leave_timeout=0.02))
    setup.lobby.on_leave(leave)
    with anyio.fail_after(2):
        async with member(setup, "ann"):
            pass
    assert "took over 0.02 s" in error_records(caplog)[0].getMessage()


async def test_there_is_one_leave_handler() -> None:
    async def leave(ctx: LeaveContext) -> None: ...

    setup = build()
    setup.lobby.on_leave(leave)
    with pytest.raises(UsageError, match="has a leave handler already"):
        setup.lobby.on_leave(leave)


# --- middleware -------------------------------------------------------------------------------


async def test_middleware_around_joins_events_and_leaves() -> None:
    order: list[str] = []

    async def trace(ctx: object, next: Next) -> None:  # noqa: A002
        order.append(f"before {type(ctx).__name__}")
        await next()
        order.append(f"after {type(ctx).__name__}")

    async def handler(ctx: EventContext | LeaveContext) -> None:
        order.append("handler")

    setup = build(accept_join, trace)
    setup.lobby.on_message("go", handler, trace)
    setup.lobby.on_leave(handler, trace)
    async with member(setup, "ann") as ann:
        say(ann, "", event="go")
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await settled()

    assert order == [
        "before JoinContext",
        "after JoinContext",
        "before EventContext",
        "handler",
        "after EventContext",
        "before LeaveContext",
        "handler",
        "after LeaveContext",
    ]


async def test_middleware_that_does_not_go_on_stops_a_join() -> None:
    async def refuse(ctx: JoinContext, next: Next) -> None:  # noqa: A002
        await ctx.decline(402, "pay first")

    async with connect(build(accept_join, refuse).pond, "/socket") as ann:
        assert (await ann.join(ROOM)).payload == Refused(402, "pay first")


async def test_raising_middleware_is_answered_like_a_raising_handler() -> None:
    async def fail(ctx: EventContext, next: Next) -> None:  # noqa: A002
        raise LookupError(SECRET)

    setup = build()
    setup.lobby.on_message("go", let_nothing, fail)
    async with member(setup, "ann") as ann:
        say(ann, "", event="go")
        assert (await ann.receive()).event == "INTERNAL_SERVER_ERROR"


async def let_nothing(ctx: EventContext) -> None:
    raise AssertionError("it must not be reached")


# --- channels ---------------------------------------------------------------------------------


async def test_a_lobby_says_whether_a_channel_has_members() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/:tenant/socket", admit)
    lobby = endpoint.create_channel("/room/:id", accept_join)
    async with connect(pond, "/acme/socket") as ann:
        await ann.join(ROOM)
        assert await lobby.has_channel(ROOM, path="/acme/socket")
        assert not await lobby.has_channel("/room/2", path="/acme/socket")
        assert not await lobby.has_channel(ROOM, path="/rival/socket")
        with pytest.raises(UsageError, match=r"write has_channel\('/room/1', path=…\)"):
            await lobby.has_channel(ROOM)
        with pytest.raises(UsageError, match="no path of the endpoint"):
            await lobby.has_channel(ROOM, path="/other")
    assert not await lobby.has_channel(ROOM, path="/acme/socket")


async def test_only_channels_with_members_are_found() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        assert await setup.lobby.has_channel(ROOM)
        await ann.join("/room/2")
        assert {channel.name for channel in await setup.lobby.list_channels()} == {ROOM, "/room/2"}
        assert await setup.lobby.get_channel("/room/3") is None
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await ann.receive()
        assert [channel.name for channel in await setup.lobby.list_channels()] == ["/room/2"]
        assert await setup.lobby.get_channel(ROOM) is None
