"""Confirmations: an event is answered in any case, once, behind all that its handler has sent."""

# ruff: noqa: A002

import json
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    Depends,
    EventContext,
    Handler,
    Next,
    Options,
    PondError,
    PondSocket,
    SyncEventContext,
)
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import POND, ClientCodec, Fault, ServerMessage

from tests.array_codec import ARRAY
from tests.core.members import client_message, envelope_of, events, member, post_body, settled
from tests.core.ponds import ROOM, PondSetup, build, error_records, timed

by_client = pytest.mark.parametrize("by_client", [True, False], ids=["asked for", "registered"])


def register(setup: PondSetup, handler: Handler, *middlewares: Any, **more: Any) -> None:
    """Register it for members and for the endpoint itself."""
    for place in (setup.lobby, setup.endpoint):
        place.on_message("ask", handler, *middlewares, **more)


async def answers(
    handler: Handler, *middlewares: Any, by_client: bool = True, **more: Any
) -> list[ServerMessage]:
    """Send an event in a channel and one to the endpoint; return all that comes."""
    setup = build()
    register(setup, handler, *middlewares, confirm=not by_client, **more)
    came: list[ServerMessage] = []
    async with member(setup, "ann") as ann:
        for name in (ROOM, "GATEWAY"):
            request = ann.send("BROADCAST", name, "ask", {"n": 1}, confirm=by_client)
            came.append(await ann.answer(request))
            assert envelope_of(came[-1])[2:] == (name, request)
        await settled()
        return [*came, *ann.drain()]


def are_confirmed(came: list[ServerMessage]) -> bool:
    return [(*envelope_of(each)[:3], each.payload) for each in came] == [
        ("SYSTEM", "ask", ROOM, {}),
        ("SYSTEM", "ask", "GATEWAY", {}),
    ]


async def at_once(ctx: EventContext) -> None: ...


async def untyped(ctx):  # type: ignore[no-untyped-def]
    return None


async def waits(ctx: EventContext) -> None:
    await anyio.lowlevel.checkpoint()


async def with_field(n: int) -> None: ...


async def with_field_and_wait(ctx: EventContext, n: int) -> None:
    await anyio.lowlevel.checkpoint()


async def may_reply(ctx: EventContext) -> dict[str, int] | None:
    return None


async def value_that_is_not_sent(ctx: EventContext) -> None:
    return {"password": "hunter2"}  # type: ignore[return-value]


async def with_dependency(n: int = Depends(lambda: 1)) -> None: ...


def plain(ctx: SyncEventContext) -> None: ...


def plain_with_field(n: int) -> None: ...


HANDLERS = [
    at_once, untyped, waits, with_field, with_field_and_wait, may_reply, value_that_is_not_sent,
    with_dependency, plain, plain_with_field, lambda ctx: None, lambda ctx: waits(ctx),
]  # fmt: skip


@by_client
@pytest.mark.parametrize("concurrent", [False, True], ids=["in order", "concurrent"])
@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
async def test_an_event_without_a_reply_is_confirmed_once(
    handler: Handler, concurrent: bool, by_client: bool
) -> None:
    assert are_confirmed(await answers(handler, by_client=by_client, concurrent=concurrent))


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
async def test_without_it_there_is_no_answer(handler: Handler) -> None:
    setup = build()
    register(setup, handler)
    async with member(setup, "ann") as ann:
        for name in (ROOM, "GATEWAY"):
            ann.send("BROADCAST", name, "ask", {"n": 1})
        await settled()
        assert ann.drain() == []


async def passes(ctx: EventContext, next: Next) -> None:
    await next()


async def stops(ctx: EventContext, next: Next) -> None: ...


async def stops_later(ctx: EventContext, next: Next) -> str:
    await anyio.lowlevel.checkpoint()
    return "of no meaning"


@by_client
@pytest.mark.parametrize("middleware", [passes, stops, stops_later], ids=lambda each: each.__name__)
async def test_what_middleware_has_stopped_is_confirmed(middleware: Any, by_client: bool) -> None:
    called: list[int] = []

    async def handler(ctx: EventContext) -> None:
        called.append(1)

    assert are_confirmed(await answers(handler, passes, middleware, by_client=by_client))
    assert len(called) == (2 if middleware is passes else 0)


async def replies(ctx: EventContext) -> None:
    await ctx.reply("told", {"a": 1})


async def returns(ctx: EventContext) -> dict[str, int]:
    return {"a": 1}


async def returns_a_number(ctx: EventContext, n: int) -> int:
    return n


def plain_replies(ctx: SyncEventContext) -> None:
    ctx.reply("told", {"a": 1})


async def replies_under_its_name(ctx: EventContext) -> None:
    await anyio.lowlevel.checkpoint()
    await ctx.reply(ctx.event_name)


async def refuses(ctx: EventContext) -> None:
    raise PondError("Not now.", 409)


async def refuses_by_return(ctx: EventContext) -> PondError:
    return PondError("Not now.", 409)


async def fails(ctx: EventContext) -> None:
    await anyio.lowlevel.checkpoint()
    raise LookupError


def fails_in_a_thread(ctx: SyncEventContext) -> None:
    raise LookupError


async def does_not_fit(ctx: EventContext, n: str) -> None: ...


async def cannot_be_written(ctx: EventContext) -> None:
    await ctx.reply("told", {"a": object()})


@by_client
@pytest.mark.parametrize(
    ("handler", "event", "payload"),
    [
        (replies, "told", {"a": 1}),
        (returns, "ask", {"a": 1}),
        (returns_a_number, "ask", {"result": 1}),
        (plain_replies, "told", {"a": 1}),
        (replies_under_its_name, "ask", {}),
        (refuses, "_ERROR", 409),
        (refuses_by_return, "_ERROR", 409),
        (fails, "INTERNAL_SERVER_ERROR", 500),
        (fails_in_a_thread, "INTERNAL_SERVER_ERROR", 500),
        (does_not_fit, "INVALID_MESSAGE", 422),
        (cannot_be_written, "INTERNAL_SERVER_ERROR", 500),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_reply_or_an_error_is_the_answer_and_no_confirmation_follows(
    handler: Handler, event: str, payload: object, by_client: bool
) -> None:
    came = await answers(handler, by_client=by_client)
    assert len(came) == 2
    for each in came:
        assert each.event.endswith(event)
        shown = each.payload.code if isinstance(each.payload, Fault) else each.payload
        assert shown == payload


@by_client
async def test_it_comes_behind_all_that_the_handler_has_sent(by_client: bool) -> None:
    setup = build()

    @setup.lobby.on_message("ask", confirm=not by_client)
    async def handler(ctx: EventContext) -> None:
        await ctx.broadcast("first")
        await ctx.track({"at": "home"})
        await anyio.lowlevel.checkpoint()
        await ctx.broadcast("second")

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "ask", confirm=by_client)
        await settled()
        assert events(ann) == ["first", "JOIN", "second", "ask"]


async def test_a_reply_after_the_confirmation_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    setup = build()
    kept: list[EventContext] = []

    @setup.lobby.on_message("ask")
    async def handler(ctx: EventContext) -> None:
        kept.append(ctx)

    async with member(setup, "ann") as ann:
        request = ann.send("BROADCAST", ROOM, "ask", confirm=True)
        assert (await ann.answer(request)).payload == {}
        await kept[0].reply("late")
        await settled()
        assert ann.drain() == []
    (record,) = error_records(caplog)
    assert "replied twice" in record.getMessage()


async def test_where_there_is_an_error_anyway_it_is_the_answer() -> None:
    setup, _ = timed(Options(event_rate=1.0, event_burst=3))
    async with member(setup, "ann") as ann:
        found = []
        for name, event in ((ROOM, "none"), ("/room/2", "say"), ("/nowhere", "say"), (ROOM, "say")):
            answer = await ann.answer(ann.send("BROADCAST", name, event, confirm=True))
            found.append(answer.event)
        assert found == [
            "HANDLER_NOT_FOUND",
            "UNAUTHORIZED_BROADCAST",
            "NOT_FOUND",
            "RATE_LIMITED",
        ]
        await settled()
        assert ann.drain() == []


async def test_a_member_that_has_left_meanwhile_is_answered() -> None:
    setup = build()

    @setup.lobby.on_message("ask")
    async def handler(ctx: EventContext) -> None:
        await ctx.evict("rude")

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "ask", confirm=True)
        await settled()
        assert events(ann) == ["EVICTED", "ask"]


async def test_a_client_that_has_gone_is_not(caplog: pytest.LogCaptureFixture) -> None:
    setup, inside, go = build(), anyio.Event(), anyio.Event()

    @setup.lobby.on_message("ask")
    async def handler(ctx: EventContext) -> None:
        inside.set()
        await go.wait()

    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "ask", confirm=True)
        await inside.wait()
        ann.vanish()
        await settled()
        go.set()
    assert ann.drain() == []
    assert error_records(caplog) == []


async def test_events_are_confirmed_in_order_and_concurrent_ones_when_they_are_done() -> None:
    setup, go = build(), anyio.Event()

    @setup.lobby.on_message("slow", concurrent=True)
    async def slow(ctx: EventContext) -> None:
        await go.wait()

    async with member(setup, "ann") as ann:
        for n in range(3):
            ann.send(
                "BROADCAST", ROOM, "slow" if n == 0 else "say", request_id=f"{n}", confirm=True
            )
        await settled()
        # Two broadcasts under ids of their own, each with its confirmation behind it.
        assert [m.request_id for m in ann.drain() if m.action == "SYSTEM"] == ["1", "2"]
        go.set()
        assert (await ann.receive()).request_id == "0"


async def test_joins_and_leaves_have_their_one_answer_whatever_they_ask() -> None:
    async with connect(build().pond, "/socket") as ann:
        await ann.receive()
        for n, action in enumerate(("JOIN_CHANNEL", "LEAVE_CHANNEL")):
            ann.send_raw(json.dumps(client_message(n, action, confirm="yes")))
        await settled()
        assert events(ann) == ["ACKNOWLEDGE", "EXIT_ACKNOWLEDGE"]


@pytest.mark.parametrize("confirm", ["true", 1, 0, None, [], {}], ids=repr)
async def test_anything_but_a_boolean_is_invalid_and_is_not_handled(confirm: object) -> None:
    async with member(build(), "ann") as ann:
        ann.send_raw(json.dumps(client_message(1, confirm=confirm)))
        answer = await ann.receive()
        assert envelope_of(answer) == ("ERROR", "INVALID_MESSAGE", ROOM, "r1")
        assert isinstance(answer.payload, Fault)
        assert (answer.payload.code, answer.payload.message) == (
            400,
            "confirm: must be true or false.",
        )
        await settled()
        assert ann.drain() == []


async def test_a_post_of_one_event_or_of_several() -> None:
    setup = build()
    register(setup, at_once)

    async def sent(peer: MemoryPeer, body: bytes) -> list[str]:
        assert peer.session.post(body) is None
        await settled()
        return [each.request_id for each in peer.drain()]

    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.join(ROOM)
        ann.drain()
        ask: Callable[..., dict[str, Any]] = client_message
        one = ask(1, event="ask", confirm=True)
        assert await sent(ann, json.dumps(one).encode()) == ["r1"]
        several = [ask(n, event="ask", confirm=n != 3) for n in (2, 3, 4)]
        assert await sent(ann, post_body(*several)) == ["r2", "r4"]
        refused = ann.session.post(post_body(one, ask(2, event="ask", confirm=1)))
        assert refused is not None
        assert refused.status == 400
        await settled()
        assert events(ann) == ["INVALID_MESSAGE"]  # taken whole or not at all


@pytest.mark.parametrize("codec", [POND, ARRAY], ids=lambda codec: codec.name)
async def test_every_wire_format_has_it(codec: ClientCodec) -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", lambda ctx: ctx.accept(), codecs=[ARRAY])
    endpoint.on_message("ask", at_once)
    async with connect(pond, "/socket", codec=None if codec is POND else codec) as ann:
        request = ann.send("BROADCAST", "GATEWAY", "ask", confirm=True)
        assert (await ann.answer(request)).payload == {}
