"""What somebody writes wrongly at two in the morning costs a request, and is said."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    JoinContext,
    LeaveContext,
    Next,
    Options,
    OutgoingContext,
    PondError,
    PondSocket,
    UsageError,
)
from pondsocket.testing import connect
from pondsocket_common import ErrorTypes, Fault, Refused
from pydantic import BeforeValidator

from tests.core.ponds import ROOM, admit, build, let_in, member, say, settled

INTERNAL = (ErrorTypes.INTERNAL_SERVER_ERROR, 500)


async def await_what_somebody_cancelled() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_event_handler_that_awaits_what_was_cancelled_is_answered_as_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(ctx: EventContext) -> None:
        await await_what_somebody_cancelled()

    house = build()
    house.lobby.on_message("go", handler)
    async with member(house, "ann") as ann:
        answer = await ann.answer(say(ann, "", event="go"))
        assert isinstance(answer.payload, Fault)
        assert (answer.payload.error, answer.payload.code) == INTERNAL
        say(ann, "still here")
        assert (await ann.receive()).payload == {"text": "still here"}
    assert "An event handler failed" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_join_handler_that_awaits_what_was_cancelled_is_answered_as_failed() -> None:
    async def handler(ctx: JoinContext) -> None:
        await await_what_somebody_cancelled()

    house = build(handler)
    async with connect(house.pond, "/socket") as ann:
        answer = await ann.join(ROOM)
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 500


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_handler_that_awaits_what_was_cancelled_refuses_with_500() -> None:
    async def handler(ctx: ConnectionContext) -> None:
        await await_what_somebody_cancelled()

    house = build(connect=handler)
    with pytest.raises(Exception, match="500 INTERNAL_SERVER_ERROR"):
        async with connect(house.pond, "/socket"):
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

    house = build()
    house.lobby.on_message("go", handler)
    async with member(house, "ann") as ann:
        answer = await ann.answer(say(ann, "", event="go"))
        assert isinstance(answer.payload, Fault)
        assert (answer.payload.error, answer.payload.code) == INTERNAL
    assert "a dependency has swallowed an exception" in caplog.text


@pytest.mark.parametrize("pattern", ["room/:id", "room", ":room", "r*"])
def test_a_channel_pattern_that_no_name_can_match_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="start with '/'"):
        build().endpoint.create_channel(pattern, let_in)


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
    with pytest.raises(UsageError, match=rf"Options\.{name} is a number"):
        Options(**values)


async def test_a_leave_handler_may_be_decorated_with_middleware() -> None:
    order: list[str] = []

    async def audited(ctx: LeaveContext, next: Next) -> None:  # noqa: A002
        order.append("audited")
        await next()

    house = build()

    @house.lobby.on_leave(middlewares=[audited])
    async def goodbye(ctx: LeaveContext) -> None:
        order.append(ctx.user.id)

    async with member(house, "ann"):
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

    house = build(handler)
    async with connect(house.pond, "/socket") as ann:
        answer = await ann.join(ROOM)
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 500


async def test_words_of_a_validator_that_json_cannot_say_do_not_end_the_connection() -> None:
    def refuse(value: object) -> object:
        raise ValueError("\ud800")

    async def handler(ctx: EventContext, text: Annotated[str, BeforeValidator(refuse)]) -> None: ...

    house = build()
    house.lobby.on_message("go", handler)
    async with member(house, "ann") as ann:
        answer = await ann.answer(say(ann, "", event="go"))
        assert isinstance(answer.payload, Fault)
        assert (answer.payload.error, answer.payload.code) == INTERNAL
        say(ann, "still here")
        assert (await ann.receive()).payload == {"text": "still here"}


@pytest.mark.parametrize("name", ["event_rate", "control_rate", "sse_keepalive_seconds"])
@pytest.mark.parametrize("value", [0, float("nan"), float("inf")])
def test_a_rate_that_would_divide_by_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Options(**{name: value})  # type: ignore[arg-type]


async def test_an_outgoing_filter_that_nobody_awaits_withholds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def censor(ctx: OutgoingContext) -> None:
        ctx.transform({"text": "***"})

    house = build()
    house.lobby.on_outgoing("say", lambda ctx: censor(ctx))
    async with member(house, "ann") as ann:
        say(ann, "a secret")
        await settled()
        assert not ann.unread
    assert "It must be awaited" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_outgoing_handler_that_awaits_what_was_cancelled_costs_one_event_alone() -> None:
    async def handler(ctx: OutgoingContext) -> None:
        if ctx.get_payload()["text"] == "bad":
            await await_what_somebody_cancelled()

    house = build()
    house.lobby.on_outgoing("say", handler)
    async with member(house, "ann") as ann, member(house, "bob") as bob:
        say(ann, "bad")
        say(ann, "good")
        assert (await bob.receive()).payload == {"text": "good"}
        assert (await ann.receive()).payload == {"text": "good"}


async def test_a_changed_copy_goes_under_the_id_of_the_broadcast() -> None:
    def shout(ctx: OutgoingContext) -> None:
        if ctx.get_user().id == "bob":
            ctx.transform({"text": "HI"})

    house = build()
    house.lobby.on_outgoing("say", shout)
    async with member(house, "ann") as ann, member(house, "bob") as bob:
        say(ann, "hi")
        plain, changed = await ann.receive(), await bob.receive()
    assert (plain.payload, changed.payload) == ({"text": "hi"}, {"text": "HI"})
    assert plain.request_id == changed.request_id
