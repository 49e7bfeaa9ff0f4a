"""Typed signatures: where parameters come from, and what becomes of what is returned."""

# ruff: noqa: A002

import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from typing import Annotated, Any

import pytest
from pondsocket import (
    ConnectionContext,
    EventContext,
    JoinContext,
    LeaveContext,
    Next,
    PondSocket,
    SyncEventContext,
)
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Acknowledged, Detail, NotFound, Refused
from pydantic import BeforeValidator, Field

from tests.core.members import member
from tests.core.ponds import ROOM, admit, build, find_session
from tests.core.typed_handlers import Point, Say, fault, result

# --- parameters -------------------------------------------------------------------------------


async def test_the_payload_is_read_by_its_model_aliases_included() -> None:
    async def say(ctx: EventContext, payload: Say) -> str:
        return repr((payload.text, payload.loud, payload.sent_on))

    sent = {"text": "hi", "loud": True, "sentOn": "2026-11-20"}
    assert await result(say, sent) == "('hi', True, datetime.date(2026, 11, 20))"


async def test_plain_typed_parameters_are_fields_of_the_payload() -> None:
    async def add(
        ctx: EventContext,
        a: int,
        *,
        b: Annotated[int, Field(gt=0)] = 5,
        c: int | None = None,
        names: list[str] | None = None,
        when: date = date(2026, 1, 1),
    ) -> list[Any]:
        return [a, b, c, names, str(when)]

    assert await result(add, {"a": 1}) == [1, 5, None, None, "2026-01-01"]
    sent = {"a": "2", "b": 3, "c": 4, "names": ["x"], "when": "2026-11-20"}
    assert await result(add, sent) == [2, 3, 4, ["x"], "2026-11-20"]


async def test_a_payload_that_does_not_fit_is_answered_422_with_every_field() -> None:
    async def add(ctx: EventContext, a: int, b: Annotated[int, Field(gt=0)], point: Point) -> None:
        raise AssertionError("It was called.")

    answer = await fault(add, {"b": 0, "point": {"x": "one"}})
    assert (answer.error, answer.code) == ("INVALID_MESSAGE", 422)
    assert answer.details is not None
    assert [(each.loc, each.type) for each in answer.details] == [
        (("a",), "missing"),
        (("b",), "greater_than"),
        (("point", "x"), "int_parsing"),
    ]


async def test_a_model_that_does_not_fit_names_the_field_as_the_client_does() -> None:
    async def say(ctx: EventContext, payload: Say) -> None: ...

    answer = await fault(say, {"text": "hi", "sentOn": "tomorrow"})
    assert answer.details is not None
    assert [each.loc for each in answer.details] == [("sentOn",)]
    assert "tomorrow" not in answer.message


async def test_path_parameters_come_by_name_and_type() -> None:
    async def move(ctx: EventContext, id: int, piece: str, square: int) -> list[Any]:
        return [id, piece, square]

    assert await result(
        move, {"id": 7, "square": 64}, pattern="move/:piece/:square", event="move/rook/8"
    ) == [1, "rook", 8]


async def test_a_value_that_does_not_fit_means_the_pattern_does_not_match() -> None:
    setup = build()

    async def by_number(ctx: EventContext, n: int) -> str:
        return f"number {n}"

    async def by_name(ctx: EventContext, n: str) -> str:
        return f"name {n}"

    setup.lobby.on_message("get/:n", by_number)
    setup.lobby.on_message("get/:n", by_name)
    async with member(setup, "ann") as ann:
        answers = [
            (await ann.answer(ann.send("BROADCAST", ROOM, event))).payload
            for event in ("get/5", "get/five")
        ]
    assert answers == [{"result": "number 5"}, {"result": "name five"}]


async def test_a_room_that_does_not_fit_the_first_lobby_goes_to_the_second() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)

    async def numbered(ctx: JoinContext, room_id: int) -> str:
        return f"number {room_id}"

    async def named(ctx: JoinContext, name: str) -> str:
        return f"name {name}"

    async def which(ctx: EventContext) -> str:
        return ctx.channel.name

    endpoint.create_channel("/chat/:room_id", numbered).on_message("which", which)
    async with connect(pond, "/socket") as ann:
        assert isinstance((await ann.join("/chat/kitchen")).payload, NotFound)
        lobby = endpoint.create_channel("/chat/:name", named)
        lobby.on_message("which", which)
        answers = [(await ann.join(f"/chat/{name}")).payload for name in ("kitchen", "42")]
        assert answers == [
            Acknowledged(response="name kitchen"),
            Acknowledged(response="number 42"),
        ]
        which_one = await ann.answer(ann.send("BROADCAST", "/chat/kitchen", "which"))
        assert which_one.payload == {"result": "/chat/kitchen"}
        assert [channel.name for channel in await lobby.list_channels()] == ["/chat/kitchen"]


async def test_a_path_that_does_not_fit_the_first_endpoint_goes_to_the_second() -> None:
    pond = PondSocket()

    @pond.endpoint("/:tenant/socket")
    async def numbered(ctx: ConnectionContext, tenant: int) -> None:
        ctx.accept(user_id=f"number {tenant + 1}")

    @pond.endpoint("/:name/socket")
    async def named(ctx: ConnectionContext, name: str) -> None:
        ctx.accept(user_id=f"name {name}")

    for path, user in (("/5/socket", "number 6"), ("/x/socket", "name x")):
        async with connect(pond, path, transport="sse") as peer:
            await peer.receive_event("CONNECTION")
            assert peer.session.user_id == user
            found = await find_session(pond, peer.session.connection_id, peer.session.request)
            assert found is peer.session


async def test_a_path_type_that_fails_does_not_fit_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rooms = {"1": "kitchen"}
    setup = build()

    async def enter(
        ctx: JoinContext, id: Annotated[str, BeforeValidator(rooms.__getitem__)]
    ) -> str:
        return id

    setup.endpoint.create_channel("/named/:id", enter)
    async with connect(setup.pond, "/socket") as ann:
        assert isinstance((await ann.join("/named/2")).payload, NotFound)
        assert (await ann.join("/named/1")).payload == Acknowledged(response="kitchen")
    assert "A validator of 'id' failed" in caplog.text


async def test_join_parameters_and_the_query_are_read_the_same_way() -> None:
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def socket(
        ctx: ConnectionContext, age: int, tag: list[str] | None = None, one: str = "none"
    ) -> None:
        ctx.reply("seen", {"age": age, "tag": tag, "one": one})
        ctx.accept()

    @socket.channel("/room/:id")
    async def room(ctx: JoinContext, id: int, colour: str, payload: dict[str, Any]) -> list[Any]:
        return [id, colour, payload]

    async with connect(pond, "/socket?age=5&tag=a&tag=b&one=1&one=2") as ann:
        seen = await ann.receive_event("seen")
        assert seen.payload == {"age": 5, "tag": ["a", "b"], "one": "1"}
        answer = await ann.join(ROOM, {"colour": "red"})
        assert answer.payload == Acknowledged(response=[1, "red", {"colour": "red"}])
        refused = (await ann.join("/room/2")).payload
        assert isinstance(refused, Refused)
        assert (refused.code, refused.details) == (
            422,
            (Detail(("colour",), "Field required", "missing"),),
        )
    with pytest.raises(ConnectionRefused) as failure:
        async with connect(pond, "/socket?age=old"):
            pass
    assert failure.value.code == 422
    assert "age" in failure.value.message


async def test_a_handler_may_ask_for_its_context_alone_or_not_at_all() -> None:
    async def nothing() -> str:
        return "nothing"

    async def untyped(ctx) -> str:  # type: ignore[no-untyped-def]
        return str(ctx.event_name)

    async def loosely(ctx: object) -> str:
        assert isinstance(ctx, EventContext)
        return "loosely"

    async def last(text: str, ctx: EventContext) -> str:
        return text + ctx.event_name

    async def by_keyword(*, ctx: EventContext) -> str:
        return ctx.event_name

    async def by_position(ctx: EventContext, /) -> str:
        return ctx.event_name

    def plain_by_position(ctx: SyncEventContext, /) -> str:
        return ctx.event_name

    assert await result(nothing) == "nothing"
    assert await result(untyped) == "ask"
    assert await result(loosely) == "loosely"
    assert await result(last, {"text": "hi "}) == "hi ask"
    for handler in (by_keyword, by_position, plain_by_position):
        assert await result(handler) == "ask"


class Handlers:
    async def __call__(self, ctx: EventContext, text: str) -> str:
        return f"call {text}"

    async def method(self, ctx: EventContext, text: str) -> str:
        return f"method {text}"

    @staticmethod
    async def static(ctx: EventContext, text: str) -> str:
        return f"static {text}"

    def plain(self, ctx: SyncEventContext, text: str) -> str:
        return f"plain {text}"


def traced(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return call


class Traced:
    @traced
    async def method(self, ctx: EventContext, text: str) -> str:
        return f"traced {text}"


@pytest.mark.parametrize(
    ("handler", "reply"),
    [
        (Handlers(), "call hi"),
        (Handlers().method, "method hi"),
        (Handlers.static, "static hi"),
        (Handlers().plain, "plain hi"),
        (traced(Handlers().method), "method hi"),
        (Traced().method, "traced hi"),
        (functools.partial(Handlers()), "call hi"),
        (functools.partial(Handlers.method, Handlers()), "method hi"),
    ],
    ids=["object", "method", "static", "plain", "wraps", "wraps-method", "partial", "partial-self"],
)
async def test_whatever_can_be_called_may_be_a_handler(handler: Any, reply: str) -> None:
    assert await result(handler, {"text": "hi"}) == reply


async def test_what_a_partial_has_filled_no_client_can_change() -> None:
    async def say(ctx: EventContext, limit: int, points: Callable[[], int], text: str) -> list[Any]:
        return [limit, points(), text]

    handler = functools.partial(say, limit=5, points=lambda: 3)
    assert await result(handler, {"text": "hi", "limit": 99, "points": 99}) == [5, 3, "hi"]


async def test_a_wrapper_that_shows_no_parameters_is_called_with_the_context() -> None:
    async def inner(ctx: EventContext) -> str:
        return ctx.event_name

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await inner(*args, **kwargs)

    assert await result(wrapper) == "ask"


async def test_a_default_without_a_type_stays_what_it_is() -> None:
    async def say(ctx: EventContext, sep=", ", *, text: str) -> str:  # type: ignore[no-untyped-def]
        return f"{sep}{text}"

    assert await result(say, {"text": "hi", "sep": "!"}) == ", hi"


async def test_middleware_stands_around_typed_handlers() -> None:
    seen: list[str] = []

    async def audited(ctx: EventContext, next: Next) -> None:
        seen.append("before")
        try:
            await next()
        finally:
            seen.append("after")

    async def add(ctx: EventContext, a: int) -> int:
        seen.append("handler")
        return a + 1

    setup = build()
    setup.lobby.on_message("add", middlewares=[audited])(add)
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "add", {"a": 1}))
        assert answer.payload == {"result": 2}
        assert seen == ["before", "handler", "after"]
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "add", {"a": "one"}))
        assert answer.event == "INVALID_MESSAGE"
        assert seen[3:] == ["before", "after"]


async def test_a_leave_handler_takes_path_parameters() -> None:
    setup = build()
    left: list[tuple[str, int]] = []

    @setup.lobby.on_leave
    async def on_leave(ctx: LeaveContext, id: int) -> None:
        left.append((ctx.user.id, id))

    async with member(setup, "ann"):
        pass
    assert left == [("ann", 1)]


async def test_a_repeated_field_may_be_any_list_of_a_payload() -> None:
    async def say(ctx: EventContext, words: Sequence[str], ids: set[int]) -> list[Any]:
        return [list(words), sorted(ids)]

    assert await result(say, {"words": ["a"], "ids": [2, 1, 2]}) == [["a"], [1, 2]]
