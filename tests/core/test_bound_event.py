"""Outgoing events of a lobby: called from anywhere, with the name of a channel."""

from dataclasses import dataclass
from typing import Any

import anyio.from_thread
import anyio.to_thread
import pytest
from pondsocket import (
    BoundEvent,
    EncodingError,
    EventContext,
    History,
    JoinContext,
    Lobby,
    PondSocket,
    UsageError,
)
from pondsocket.testing import MemoryPeer, connect
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from tests.core.members import events, member, members, say, settled
from tests.core.ponds import ROOM, accept_join, admit, build


class News(BaseModel):
    text: str
    urgent: bool = False


class SecretNews(News):
    source: str = "secret"


@dataclass
class Moved:
    x: int
    y: int = 0


class Typing(TypedDict):
    who: str


class File(BaseModel):
    path: str
    history: int = 0
    channel: str = ""
    payload: str = ""


class Renamed(BaseModel):
    room_id: int = Field(alias="roomId")


HI = {"text": "hi", "urgent": False}


class Connection:
    """Stands in for one connection: it keeps what is pushed to it until it has ended."""

    def __init__(self) -> None:
        self.pushed: list[tuple[str, object, str | None]] = []
        self.has_ended = False

    def push(self, event: str, payload: object, *, channel: str | None = None) -> bool:
        if not self.has_ended:
            self.pushed.append((event, payload, channel))
        return not self.has_ended


def heard(peer: MemoryPeer) -> list[tuple[str, object]]:
    return [(each.event, each.payload) for each in peer.drain()]


async def test_it_goes_to_every_member_of_the_channel_that_is_named() -> None:
    setup = build()
    news = setup.lobby.event("news", News)
    async with members(setup, "ann", "bob") as (ann, bob), member(setup, "eve", "/room/2") as eve:
        await news(ROOM, text="hi")
        await news(ROOM, News(text="hi"))
        await news(ROOM, SecretNews(text="hi"))
        assert heard(ann) == heard(bob) == [("news", HI)] * 3
        assert not eve.unread


@pytest.mark.parametrize(
    ("kind", "fields", "sent"),
    [
        (News, {"text": "hi", "urgent": "yes"}, {"text": "hi", "urgent": True}),
        (Moved, {"x": "1"}, {"x": 1, "y": 0}),
        (Typing, {"who": "ann"}, {"who": "ann"}),
        (dict[str, Any], {"a": 1, "channel": "c", "payload": 2, "self": 3}, None),
        (dict[str, Any], {}, {}),
        (Renamed, {"roomId": 3}, {"roomId": 3}),
        (News | Moved, {"x": 1}, {"x": 1, "y": 0}),
    ],
)
async def test_keywords_are_the_fields_of_the_payload(
    kind: Any, fields: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    setup = build()
    event = setup.lobby.event("news", kind)
    async with member(setup, "ann") as ann:
        await event(ROOM, **fields)
        assert heard(ann) == [("news", fields if sent is None else sent)]


async def test_fields_that_are_called_as_a_parameter_go_in_a_payload() -> None:
    setup = build()
    file = setup.lobby.event("file", File)
    async with member(setup, "ann") as ann:
        await file(ROOM, File(path="/x", history=2, channel="c", payload="p"))
        assert heard(ann) == [
            ("file", {"path": "/x", "history": 2, "channel": "c", "payload": "p"})
        ]
        with pytest.raises(EncodingError, match="path: Field required"):
            await file(ROOM, path="/x")  # the path of an endpoint
        assert not ann.unread


async def test_what_does_not_fit_is_an_error_for_the_caller_and_nothing_is_sent() -> None:
    setup = build()
    news: Any = setup.lobby.event("news", News)
    connection = Connection()
    async with member(setup, "ann") as ann:
        unfit: list[dict[str, Any]] = [{}, {"text": 7}, {"txt": "hi"}]
        for fields in unfit:
            with pytest.raises(EncodingError, match=r"'news' does not fit News: text: "):
                await news(ROOM, **fields)
            with pytest.raises(EncodingError, match=r"'news' does not fit News: text: "):
                await news.to("ann")(ROOM, **fields)
            with pytest.raises(EncodingError, match=r"'news' does not fit News: text: "):
                news.push(connection)(**fields)
        with pytest.raises(EncodingError, match="instance of News"):
            await news(ROOM, Moved(1))
        several: list[tuple[list[Any], dict[str, Any]]] = [
            ([News(text="hi")], {"text": "hi"}),
            (["hi", "ho"], {}),
        ]
        for arguments, fields in several:
            with pytest.raises(UsageError, match="one payload, or its fields"):
                await news(ROOM, *arguments, **fields)
            with pytest.raises(UsageError, match=r"`news\.push\(ctx\.connection\)\(payload\)`"):
                news.push(connection)(*arguments, **fields)
        assert not ann.unread
        assert not connection.pushed


async def test_it_is_addressed_to_users() -> None:
    setup = build()
    news = setup.lobby.event("news", News)
    async with members(setup, "ann", "ann", "bob", "eve") as (ann, tab, bob, eve):
        await news.to("ann", "bob")(ROOM, text="hi")
        await news.to("eve")(ROOM, SecretNews(text="hi"))
        await news.to("stranger")(ROOM, text="hi")
        await news.to()(ROOM, text="hi")
        assert heard(ann) == heard(tab) == heard(bob) == heard(eve) == [("news", HI)]


@pytest.mark.parametrize("user_id", [["ann"], None, ""])
def test_an_address_that_is_no_id_is_refused(user_id: Any) -> None:
    with pytest.raises(UsageError, match="A user's id"):
        build().lobby.event("news", News).to(user_id)


async def test_what_is_no_connection_is_refused_with_what_to_write() -> None:
    setup = build()
    news: Any = setup.lobby.event("news", News)

    @setup.lobby.on_message("try")
    async def attempt(ctx: EventContext) -> str:
        for wrong in (ctx, ctx.user.id, ctx.user, None):
            told = rf"`news\.push\(ctx\.connection\)\(…\)`, not to {type(wrong).__name__};"
            with pytest.raises(UsageError, match=told):
                news.push(wrong)
        assert news.push(ctx.connection)(text="hi")
        return "refused"

    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "try"))
        assert answer.payload == {"result": "refused"}


def test_it_is_pushed_to_one_connection_until_that_has_ended() -> None:
    news = build().lobby.event("news", News)
    connection = Connection()
    assert news.push(connection)(text="hi")
    every = build().lobby.event("every", dict[str, Any])
    assert every.push(connection)(self=1, event=2, channel=3)
    assert connection.pushed.pop() == ("every", {"self": 1, "event": 2, "channel": 3}, None)
    assert news.push(connection, channel=ROOM)(SecretNews(text="hi"))
    connection.has_ended = True
    assert not news.push(connection)(text="late")
    assert connection.pushed == [("news", HI, None), ("news", HI, ROOM)]


async def test_a_handler_sends_it_as_any_event() -> None:
    setup = build()
    news = setup.lobby.event("news", News)

    async def ask(ctx: EventContext) -> None:
        await ctx.broadcast_from(news, News(text="hi"))
        await news(ctx.channel.name, text="ho")

    setup.lobby.on_message("ask", ask)
    async with members(setup, "ann", "bob") as (ann, bob):
        say(ann, "", event="ask")
        await settled()
        assert heard(ann) == [("news", {**HI, "text": "ho"})]
        assert heard(bob) == [("news", HI), ("news", {**HI, "text": "ho"})]


async def test_a_history_keeps_it_unless_told_otherwise() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", accept_join, history=History())
    news = lobby.event("news", News)
    await news(ROOM, text="1")
    await news(ROOM, text="2", history=False)
    await news(ROOM, News(text="3"), history=False)
    await news.to("ann")(ROOM, text="4")
    kept = await pond.channel("/socket", ROOM).history()
    assert kept is not None
    assert [each.payload for each in kept] == [{**HI, "text": text} for text in ("1", "4")]


# --- where it goes ----------------------------------------------------------------------------


async def test_a_lobby_that_is_part_of_no_endpoint_says_what_to_write() -> None:
    lobby = Lobby("/room/:id", accept_join)
    news = lobby.event("news", News)
    with pytest.raises(UsageError, match=r"part of no endpoint yet.*endpoint\.include\(lobby\)"):
        await news(ROOM, text="hi")
    pond = PondSocket()
    pond.create_endpoint("/socket", admit).include(lobby)
    async with connect(pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        await news(ROOM, text="hi")
        assert heard(ann) == [("news", HI)]


@pytest.mark.parametrize("name", ["/other/1", "/room/", "/room/a/b", "room/1", "", "GATEWAY", 7])
async def test_a_channel_of_no_lobby_or_of_another_one_is_refused(name: Any) -> None:
    setup = build()
    setup.endpoint.create_channel("/other/:id", accept_join)
    news = setup.lobby.event("news", News)
    with pytest.raises(UsageError, match="'news' goes to channels of '/room/:id'"):
        await news(name, text="hi")
    with pytest.raises(UsageError, match="'news' goes to channels of '/room/:id'"):
        await news.to("ann")(name, text="hi")


async def test_a_name_that_an_earlier_lobby_takes_is_refused() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    endpoint.create_channel("/room/lobby", accept_join)
    rooms = endpoint.create_channel("/room/:id", accept_join)
    news = rooms.event("news", News)
    with pytest.raises(UsageError, match="'/room/lobby' is none"):
        await news("/room/lobby", text="hi")


async def test_a_typed_parameter_takes_its_own_names_alone() -> None:
    async def join(ctx: JoinContext, id: int) -> None:  # noqa: A002
        await ctx.accept()

    setup = build(join)
    news = setup.lobby.event("news", News)
    async with member(setup, "ann") as ann:
        await news(ROOM, text="hi")
        assert events(ann) == ["news"]
        with pytest.raises(UsageError, match="'/room/x' is none"):
            await news("/room/x", text="hi")


async def test_each_path_of_a_pattern_has_channels_of_its_own() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/:tenant/socket", admit)
    lobby = endpoint.create_channel("/room/:id", accept_join)
    news = lobby.event("news", News)
    async with connect(pond, "/acme/socket") as ann, connect(pond, "/rival/socket") as bob:
        await ann.join(ROOM)
        await bob.join(ROOM)
        ann.drain(), bob.drain()
        await news(ROOM, text="hi", path="/acme/socket")
        await news.to(ann.session.user_id)(ROOM, News(text="hi"), path="/acme/socket")
        await news.to(ann.session.user_id)(ROOM, text="hi", path="/rival/socket")
        assert heard(ann) == [("news", HI)] * 2
        assert not bob.unread
        with pytest.raises(UsageError, match="with the path"):
            await news(ROOM, text="hi")
        for path in ("/other", "/:tenant/socket"):
            with pytest.raises(UsageError, match="path"):
                await news(ROOM, text="hi", path=path)
        assert not ann.unread


async def test_a_channel_without_members_takes_it() -> None:
    setup = build()
    await setup.lobby.event("news", News)("/room/empty", text="hi")
    assert await setup.lobby.list_channels() == []


async def test_it_works_in_the_event_loop_of_the_pond_alone() -> None:
    setup = build()
    news = setup.lobby.event("news", News)

    async def send() -> None:
        await news(ROOM, text="hi")

    async with member(setup, "ann") as ann:

        def elsewhere() -> None:
            with pytest.raises(UsageError, match="broadcast_nowait"):
                anyio.run(send, backend="asyncio")
            anyio.from_thread.run(send)
            setup.pond.channel("/socket", ROOM).broadcast_nowait(news, News(text="ho"))

        await anyio.to_thread.run_sync(elsewhere)
        await settled()
        assert [each.payload for each in ann.drain()] == [HI, {**HI, "text": "ho"}]


@pytest.mark.parametrize(("name", "kind"), [("EVICTED", News), ("", News), ("news", int)])
def test_a_wrong_name_or_type_fails_when_it_is_made(name: str, kind: Any) -> None:
    with pytest.raises(UsageError):
        build().lobby.event(name, kind)


def test_it_shows_its_name_and_its_type() -> None:
    news = build().lobby.event("news", News)
    assert isinstance(news, BoundEvent)
    assert repr(news) == "<BoundEvent 'news' of News>"
