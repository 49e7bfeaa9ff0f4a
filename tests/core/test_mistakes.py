"""What an application gets wrong costs a request, and is said in the log."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import pytest
from pondsocket import (
    CloseCode,
    ConnectionContext,
    Depends,
    EventContext,
    Handler,
    Hooks,
    JoinContext,
    LeaveContext,
    Next,
    Options,
    OutgoingContext,
    PondError,
    PondSocket,
    PresenceMode,
    UsageError,
)
from pondsocket.testing import connect
from pondsocket_common import ErrorTypes, Fault, Refused
from pydantic import BeforeValidator

from tests.core.members import member, say, settled
from tests.core.ponds import ROOM, accept_join, admit, build

INTERNAL = (ErrorTypes.INTERNAL_SERVER_ERROR, 500)


async def expect_event_fails(handler: Handler) -> None:
    """Expect an event to be answered with 500, and the connection to go on."""
    setup = build()
    setup.lobby.on_message("go", handler)
    async with member(setup, "ann") as ann:
        answer = await ann.answer(say(ann, "", event="go"))
        assert isinstance(answer.payload, Fault)
        assert (answer.payload.error, answer.payload.code) == INTERNAL
        say(ann, "still here")
        assert (await ann.receive()).payload == {"text": "still here"}


async def expect_join_fails(handler: Handler) -> None:
    """Expect a join to be answered with 500."""
    setup = build(handler)
    async with connect(setup.pond, "/socket") as ann:
        answer = await ann.join(ROOM)
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 500


async def await_what_was_cancelled() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_event_handler_that_awaits_what_was_cancelled_is_answered_as_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ctx: EventContext) -> None:
        await await_what_was_cancelled()

    await expect_event_fails(handler)
    assert "An event handler failed" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_join_handler_that_awaits_what_was_cancelled_is_answered_as_failed() -> None:
    async def handler(ctx: JoinContext) -> None:
        await await_what_was_cancelled()

    await expect_join_fails(handler)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_handler_that_awaits_what_was_cancelled_refuses_with_500() -> None:
    async def handler(ctx: ConnectionContext) -> None:
        await await_what_was_cancelled()

    setup = build(connect=handler)
    with pytest.raises(Exception, match="500 INTERNAL_SERVER_ERROR"):
        async with connect(setup.pond, "/socket"):
            pass


async def test_a_dependency_that_swallows_the_handlers_exception_is_said_and_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def transaction() -> AsyncIterator[str]:
        try:
            yield "open"
        except ValueError:
            pass  # a rollback that forgot to raise again

    async def handler(ctx: EventContext, within: str = Depends(transaction)) -> None:
        raise ValueError(within)

    await expect_event_fails(handler)
    assert "a dependency has swallowed an exception" in caplog.text


@pytest.mark.parametrize("pattern", ["room/:id", "room", ":room", "r*"])
def test_a_channel_pattern_that_no_name_can_match_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="start with '/'"):
        build().endpoint.create_channel(pattern, accept_join)


def test_an_endpoint_path_that_no_request_can_match_is_refused() -> None:
    with pytest.raises(UsageError, match="starts with '/'"):
        PondSocket().create_endpoint("socket", admit)


@pytest.mark.parametrize(
    "values",
    [
        {"max_pending_messages": None},
        {"handler_grace": None},
        {"outbox_frames": "many"},
        {"event_rate": -1.0},
        {"max_channels": True},
    ],
)
def test_an_option_that_cannot_work_is_refused_with_its_name(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(UsageError, match=rf"Options\.{name} is a (whole )?number"):
        Options(**values)


async def test_a_leave_handler_may_be_decorated_with_middleware() -> None:
    order: list[str] = []

    async def audited(ctx: LeaveContext, next: Next) -> None:  # noqa: A002
        order.append("audited")
        await next()

    setup = build()

    @setup.lobby.on_leave(middlewares=[audited])
    async def goodbye(ctx: LeaveContext) -> None:
        order.append(ctx.user.id)

    async with member(setup, "ann"):
        pass
    await settled()
    assert order == ["audited", "ann"]


@pytest.mark.parametrize("code", ["401", None, 2**70, True, 4.5])
def test_a_pond_error_needs_a_code_that_clients_can_read(code: Any) -> None:
    with pytest.raises(UsageError, match="An error's code is a number"):
        PondError("no", code)


async def test_a_join_declined_with_words_alone_is_answered_as_failed() -> None:
    async def handler(ctx: JoinContext) -> None:
        await ctx.decline("members only")  # type: ignore[arg-type]

    await expect_join_fails(handler)


async def test_words_of_a_validator_that_json_cannot_say_do_not_end_the_connection() -> None:
    def refuse(value: object) -> object:
        raise ValueError("\ud800")

    async def handler(ctx: EventContext, text: Annotated[str, BeforeValidator(refuse)]) -> None: ...

    await expect_event_fails(handler)


@pytest.mark.parametrize("name", ["event_rate", "control_rate", "sse_keepalive_seconds"])
@pytest.mark.parametrize("value", [0, float("nan"), float("inf")])
def test_a_rate_that_would_divide_by_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Options(**{name: value})  # type: ignore[arg-type]


async def test_an_outgoing_filter_that_is_not_awaited_withholds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def censor(ctx: OutgoingContext) -> None:
        ctx.transform({"text": "***"})

    setup = build()
    setup.lobby.on_outgoing("say", lambda ctx: censor(ctx))
    async with member(setup, "ann") as ann:
        say(ann, "a secret")
        await settled()
        assert not ann.unread
    assert "It must be awaited" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_outgoing_handler_that_awaits_what_was_cancelled_costs_one_event_alone() -> None:
    async def handler(ctx: OutgoingContext) -> None:
        if ctx.get_payload()["text"] == "bad":
            await await_what_was_cancelled()

    setup = build()
    setup.lobby.on_outgoing("say", handler)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "bad")
        say(ann, "good")
        assert (await bob.receive()).payload == {"text": "good"}
        assert (await ann.receive()).payload == {"text": "good"}


async def test_a_changed_copy_goes_under_the_id_of_the_broadcast() -> None:
    def shout(ctx: OutgoingContext) -> None:
        if ctx.get_user().id == "bob":
            ctx.transform({"text": "HI"})

    setup = build()
    setup.lobby.on_outgoing("say", shout)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "hi")
        plain, changed = await ann.receive(), await bob.receive()
    assert (plain.payload, changed.payload) == ({"text": "hi"}, {"text": "HI"})
    assert plain.request_id == changed.request_id


async def test_names_that_a_client_chooses_cannot_forge_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pondsocket")
    name = "/room/1) user=admin\u2028LOG root CRITICAL"
    setup = build()
    async with connect(setup.pond, "/socket?user=ann") as ann:
        await ann.join(name)
    (line,) = [r.getMessage() for r in caplog.records if "joined" in r.getMessage()]
    assert "\u2028" not in line
    assert "channel='/room/1) user=admin\\u2028LOG root CRITICAL' user='ann'" in line


@pytest.mark.parametrize("kind", ["hooks", "metrics"])
def test_a_hook_or_metric_that_would_not_be_awaited_is_refused(kind: str) -> None:
    class Late(Hooks):
        async def connected(self, *_: object) -> None: ...  # type: ignore[override]

    with pytest.raises(UsageError, match=r"Late\.connected: write `def`"):
        PondSocket(**{kind: Late()})  # type: ignore[arg-type]


async def test_entering_a_pond_twice_in_one_task_keeps_it_open_until_the_last_exit() -> None:
    setup = build()
    async with setup.pond:
        async with setup.pond:
            pass
        assert setup.pond._environment.background.tasks is not None
        async with connect(setup.pond, "/socket") as ann:
            assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
    assert setup.pond._environment.background.tasks is None


async def test_a_handler_that_outlives_its_membership_cannot_hide_the_next_ones_presence() -> None:
    opened = anyio.Event()

    async def late(ctx: EventContext) -> None:
        await opened.wait()
        await ctx.untrack()

    async def show(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track({"status": "online"})

    setup = build(show)
    setup.lobby.on_message("late", late, concurrent=True)
    async with member(setup, "ann") as ann:
        say(ann, "", event="late")
        await settled()
        await ann.join(ROOM)
        opened.set()
        await settled()
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert await channel.get_presence() == {"ann": {"status": "online"}}


async def test_an_accept_that_fails_keeps_no_presence() -> None:
    async def handler(ctx: JoinContext) -> None:
        await ctx.accept(response={"not": object()})

    setup = build(handler)
    async with connect(setup.pond, "/socket") as ann:
        answer = await ann.join(ROOM, presence=PresenceMode.DIFF)
        assert isinstance(answer.payload, Refused)
        channel = setup.lobby.open_channel(ROOM, {})
        assert channel.presence.log is None


async def test_messages_that_are_too_long_count_as_refusals() -> None:
    setup = build(options=Options(max_refusals=4))
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        body = b'{"action": "BROADCAST", "event": "say", "channelName": "/room/1",'
        body += b' "requestId": "1", "payload": {"text": "' + b"x" * 70_000 + b'"}}'
        for _ in range(4):
            refusal = ann.session.post(body)
            assert refusal is not None
            assert refusal.status == 413
        assert await ann.wait_closed() is CloseCode.RATE_LIMITED
