"""Outgoing events as values: what is made of a payload, and where they stand for a name."""

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import anyio.to_thread
import pytest
from pondsocket import (
    ConnectionContext,
    EncodingError,
    Event,
    EventContext,
    JoinContext,
    LeaveContext,
    OutgoingContext,
    SyncEventContext,
    UsageError,
)
from pondsocket.testing import connect
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_serializer
from typing_extensions import TypedDict

from tests.core.members import member, members, say, settled
from tests.core.ponds import ROOM, build, logged_error


class Said(BaseModel):
    id: int
    text: str = ""


class SaidBySomeone(Said):
    token: str = "secret"


class Other(BaseModel):
    id: int


@dataclass
class Moved:
    x: int
    y: int = 0


@dataclass
class MovedSecretly(Moved):
    reason: str = "secret"


class Typing(TypedDict):
    who: str


class Renamed(BaseModel):
    room_id: int = Field(alias="roomId")


class Board(BaseModel):
    last: Said
    all: list[Said] = []


class AsText(BaseModel):
    id: int

    @model_serializer
    def write(self) -> str:
        return str(self.id)


class Strange:
    pass


class WithStrange(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    strange: Strange


said = Event("said", Said)


# --- an event by itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        (Said, Said(id=7), {"id": 7, "text": ""}),
        (Said, {"id": "7", "other": 1}, {"id": 7, "text": ""}),
        (Said, SaidBySomeone(id=7), {"id": 7, "text": ""}),
        (Board, Board(last=SaidBySomeone(id=7)), {"last": {"id": 7, "text": ""}, "all": []}),
        (Moved, Moved(1), {"x": 1, "y": 0}),
        (Moved, {"x": 1}, {"x": 1, "y": 0}),
        (Moved, MovedSecretly(1), {"x": 1, "y": 0}),
        (Typing, {"who": "ann"}, {"who": "ann"}),
        (Typing, {"who": "ann", "token": "secret"}, {"who": "ann"}),
        (dict[str, Any], {"a": [1, None]}, {"a": [1, None]}),
        (dict, {}, {}),
        (dict[str, Any], None, {}),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Renamed, Renamed(roomId=3), {"roomId": 3}),
        (Renamed, {"roomId": 3}, {"roomId": 3}),
        (RootModel[dict[str, int]], {"a": 1}, {"a": 1}),
        (Said | Moved, Moved(1), {"x": 1, "y": 0}),
        (Annotated[Said, "documented"], Said(id=7), {"id": 7, "text": ""}),
        (Any, {"a": 1}, {"a": 1}),
    ],
)
def test_the_declared_fields_alone_are_sent(kind: Any, value: object, sent: object) -> None:
    assert Event("said", kind).as_payload(value) == sent


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Said, {}, ("Said", "id: Field required")),
        (Said, None, ("Said", "id: Field required")),
        (Said, {"id": "secret"}, ("id: Input should be a valid integer",)),
        (Said, Other(id=7), ("instance of Said",)),
        (Said, [1], ("instance of Said",)),
        (Said, Said.model_construct(id="secret"), ("Expected `int`",)),
        (Said, Said.model_construct(id="secret\n  x", text=3), ("Expected `int`", "`str`")),
        (Board, {"last": {"id": "secret"}}, ("last.id: Input should be a valid integer",)),
        (Board, {"last": {}, "all": [{}] * 9}, ("last.id", "all.0.id", "and 7 more")),
        (Moved, Moved("secret"), ("Expected `int`",)),  # type: ignore[arg-type]
        (Typing, {"who": 1}, ("who: Input should be a valid string",)),
        (dict[str, Any], {"a": object()}, ("a)",)),
        (dict[str, Any], {"a": float("nan")}, ("a is NaN",)),
        (Any, [1], ("a payload is an object, not list",)),
        (WithStrange, WithStrange(strange=Strange()), ("Strange",)),
    ],
)
def test_what_does_not_fit_is_said_by_event_and_field_and_without_values(
    kind: Any, value: object, words: tuple[str, ...]
) -> None:
    with pytest.raises(EncodingError) as caught:
        Event("said", kind).as_payload(value)
    text = str(caught.value)
    assert "'said'" in text
    assert all(word in text for word in words), text
    assert "secret" not in text


@pytest.mark.parametrize(
    "kind",
    [int, str, None, list[Said], tuple[int, int], Said | None, RootModel[int], AsText, Strange],
)
def test_a_type_that_is_no_object_in_json_fails_at_once(kind: Any) -> None:
    with pytest.raises(UsageError, match=r"^`Event\('said', Model\)`"):
        Event("said", kind)


@pytest.mark.parametrize("kind", ["Said", say, Said(id=7), lambda: Said(id=7)])
def test_what_is_no_type_fails_at_once(kind: Any) -> None:
    with pytest.raises(UsageError, match="type of a payload"):
        Event("said", kind)


def test_a_type_that_no_schema_describes_is_taken_where_it_is_a_class_of_objects() -> None:
    assert Event("said", WithStrange).payload_type is WithStrange


@pytest.mark.parametrize("name", ["", "a\nb", "ACKNOWLEDGE", "x" * 256, 7, None])
def test_a_name_that_no_event_can_have_fails_at_once(name: Any) -> None:
    with pytest.raises(UsageError):
        Event(name, Said)


def test_it_shows_its_name_and_its_type() -> None:
    assert (said.name, said.payload_type) == ("said", Said)
    assert repr(said) == "<Event 'said' of Said>"


# --- wherever the name of an event stands -----------------------------------------------------

Call = Callable[[EventContext, Event[Said], Said], Awaitable[object]]


@pytest.mark.parametrize(
    ("call", "hearers"),
    [
        (lambda ctx, event, payload: ctx.reply(event, payload), ["ann"]),
        (lambda ctx, event, payload: ctx.broadcast(event, payload), ["ann", "bob"]),
        (lambda ctx, event, payload: ctx.broadcast_to(event, payload, "bob"), ["bob"]),
        (lambda ctx, event, payload: ctx.broadcast_from(event, payload), ["bob"]),
        (lambda ctx, event, payload: ctx.channel.broadcast(event, payload), ["ann", "bob"]),
        (lambda ctx, event, payload: ctx.channel.broadcast_to(event, payload, "ann"), ["ann"]),
        (lambda ctx, event, payload: ctx.channel.broadcast_from(event, payload, "ann"), ["bob"]),
    ],
)
@pytest.mark.parametrize("payload", [Said(id=7), SaidBySomeone(id=7)])
async def test_a_handler_sends_it_in_every_way(
    call: Call, hearers: list[str], payload: Said
) -> None:
    setup = build()

    async def ask(ctx: EventContext) -> None:
        await call(ctx, said, payload)

    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "", event="ask")
        await settled()
        heard = {
            name: [(each.event, each.payload) for each in peer.drain()]
            for name, peer in (("ann", ann), ("bob", bob))
        }
    fields = [("said", {"id": 7, "text": ""})]
    assert heard == {name: fields if name in hearers else [] for name in ("ann", "bob")}


async def test_what_does_not_fit_is_an_error_for_the_caller_and_nothing_is_sent() -> None:
    setup = build()
    raised: list[str] = []
    wrong: Any = Other(id=7)

    async def ask(ctx: EventContext) -> None:
        channel, handle = ctx.channel, setup.pond.channel("/socket", ROOM)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: ctx.reply(said, wrong),
            lambda: ctx.broadcast(said, wrong),
            lambda: ctx.broadcast_to(said, wrong, "ann"),
            lambda: ctx.broadcast_from(said, wrong),
            lambda: channel.broadcast(said, wrong),
            lambda: channel.broadcast_from(said, wrong, "bob"),
            lambda: handle.broadcast(said, wrong),
        ]
        for call in calls:
            with pytest.raises(EncodingError) as caught:
                await call()
            raised.append(str(caught.value))
        with pytest.raises(EncodingError):
            handle.broadcast_nowait(said, wrong)
        assert not ctx.has_replied()
        await ctx.reply("done")

    setup.lobby.on_message("ask", ask)
    async with members(setup, "ann", "bob") as (ann, bob):
        say(ann, "", event="ask")
        await settled()
        assert [each.event for each in ann.drain()] == ["done"]
        assert not bob.unread
    assert len(raised) == 7
    assert all("'said'" in text and "Said" in text for text in raised)


async def test_a_handler_that_lets_the_error_pass_fails_and_the_log_names_the_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = build()
    wrong = Said.model_construct(id="secret")  # here: a traceback shows the line that sends it

    async def ask(ctx: EventContext) -> None:
        await ctx.broadcast(said, wrong)

    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        request_id = say(ann, "", event="ask")
        answer = await ann.answer(request_id)
        assert (answer.action, answer.event) == ("ERROR", "INTERNAL_SERVER_ERROR")
        assert not ann.unread
    logged_error(caplog)
    assert "secret" not in caplog.text
    assert "'said'" in caplog.text


@pytest.mark.parametrize("event", [7, None, Said, b"said", ("said", Said), {"text": "secret"}])
async def test_what_is_neither_a_name_nor_an_event_is_refused(event: Any) -> None:
    setup = build()
    handle = setup.pond.channel("/socket", ROOM)
    async with member(setup, "ann") as ann:
        with pytest.raises(UsageError, match="an `Event") as raised:
            await handle.broadcast(event, {})
        assert "secret" not in str(raised.value)
        with pytest.raises(UsageError, match="an `Event"):
            handle.broadcast_nowait(event, {})
        assert not ann.unread


async def test_a_connection_handler_greets_with_it() -> None:
    welcome = Event("welcome", Moved)

    async def admit(ctx: ConnectionContext) -> None:
        with pytest.raises(EncodingError):
            ctx.reply(welcome, {"y": 1})  # type: ignore[misc]
        ctx.reply(welcome, Moved(1))
        ctx.accept()

    async with connect(build(connect=admit).pond, "/socket") as ann:
        assert (await ann.receive_event("welcome")).payload == {"x": 1, "y": 0}


async def test_a_join_handler_and_a_leave_handler_send_it() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.reply(said, Said(id=1))
        await ctx.broadcast_from(said, Said(id=2))

    setup = build(join)

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        await ctx.broadcast(said, Said(id=3))
        await ctx.broadcast_to(said, Said(id=4), "ann")
        await ctx.broadcast_from(said, Said(id=5))

    async with connect(setup.pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        async with connect(setup.pond, "/socket?user=bob") as bob:
            await bob.join(ROOM)
            assert (await bob.receive_event("said")).payload == {"id": 1, "text": ""}
        await settled()
        ids = [each.payload["id"] for each in ann.drain() if each.event == "said"]  # type: ignore[index]
    assert ids == [1, 2, 3, 4, 5]


async def test_a_plain_handler_sends_it() -> None:
    setup = build()

    def ask(ctx: SyncEventContext) -> None:
        ctx.broadcast_from(said, Said(id=1))
        ctx.broadcast_to(said, Said(id=2), "bob")
        ctx.broadcast(said, SaidBySomeone(id=3))
        ctx.reply(said, Said(id=4))
        with pytest.raises(EncodingError, match="'said'"):
            ctx.broadcast(said, Other(id=5))  # type: ignore[misc]

    setup.lobby.on_message("ask", ask)
    async with members(setup, "ann", "bob") as (ann, bob):
        await ann.answer(say(ann, "", event="ask"))
        assert [each.payload for each in bob.drain()] == [
            {"id": number, "text": ""} for number in (1, 2, 3)
        ]


async def test_a_handle_sends_it_from_any_thread() -> None:
    setup = build()
    handle = setup.pond.channel("/socket", ROOM)
    async with members(setup, "ann", "bob") as (ann, bob):
        await handle.broadcast(said, Said(id=1))
        await handle.broadcast_to(said, Said(id=2), "ann")
        await handle.broadcast_from(said, Said(id=3), "bob")
        handle.broadcast_nowait(said, SaidBySomeone(id=4))

        def send() -> None:
            assert threading.current_thread() is not threading.main_thread()
            handle.broadcast_nowait(said, SaidBySomeone(id=5))
            handle.broadcast_to_nowait(said, Said(id=6), "ann")
            handle.broadcast_from_nowait(said, Said(id=7), "bob")
            with pytest.raises(EncodingError, match="'said'"):
                handle.broadcast_nowait(said, Other(id=8))  # type: ignore[misc]

        await anyio.to_thread.run_sync(send)
        await settled()
        assert [each.payload for each in ann.drain()] == [
            {"id": number, "text": ""} for number in range(1, 8)
        ]
        assert [each.payload for each in bob.drain()] == [
            {"id": number, "text": ""} for number in (1, 4, 5)
        ]


async def test_outgoing_handlers_see_its_name_and_its_fields() -> None:
    setup = build()
    seen: list[tuple[str, object]] = []

    @setup.lobby.on_outgoing("said")
    def look(ctx: OutgoingContext) -> None:
        seen.append((ctx.get_event(), ctx.get_payload()))

    async with member(setup, "ann"):
        await setup.pond.channel("/socket", ROOM).broadcast(said, SaidBySomeone(id=1))
    assert seen == [("said", {"id": 1, "text": ""})]
