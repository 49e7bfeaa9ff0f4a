"""Registration: every one works as a call and as a decorator, and lobbies can be included."""

from collections.abc import Callable
from typing import Any

import pytest
from pondsocket import (
    ConnectionContext,
    Endpoint,
    EventContext,
    GatewayContext,
    JoinContext,
    LeaveContext,
    Lobby,
    Next,
    OutgoingContext,
    PondError,
    PondSocket,
    UsageError,
)
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Acknowledged, Fault, NotFound, Refused

from tests.core.members import member, settled
from tests.core.ponds import ROOM, accept_join, admit, build

Step = Callable[[Any, Next], Any]


def step(log: list[str], name: str) -> Step:
    async def middleware(ctx: Any, next: Next) -> None:  # noqa: A002
        log.append(name)
        await next()

    return middleware


def outgoing_step(log: list[str], name: str) -> Any:
    def middleware(ctx: OutgoingContext, next: Callable[[], Any]) -> None:  # noqa: A002
        log.append(name)
        next()

    return middleware


async def played(pond: PondSocket, log: list[str]) -> list[str]:
    """Return what the handlers log when a client connects, joins, says something, and leaves."""
    async with connect(pond, "/socket?user=ann") as ann:
        await ann.join(ROOM)
        ann.send("BROADCAST", ROOM, "say", {})
        await ann.receive_event("said")
        await ann.answer(ann.send("BROADCAST", "GATEWAY", "ask", {}))
    await settled()
    return log


async def test_every_registration_works_as_a_call() -> None:
    log: list[str] = []
    pond = PondSocket()

    async def socket(ctx: ConnectionContext) -> None:
        log.append("connect")
        ctx.accept()

    async def room(ctx: JoinContext) -> None:
        log.append("join")
        await ctx.accept()

    async def say(ctx: EventContext) -> None:
        log.append("event")
        await ctx.broadcast("said", {})

    async def ask(ctx: GatewayContext) -> str:
        log.append("gateway")
        return "done"

    async def leave(ctx: LeaveContext) -> None:
        log.append("leave")

    def said(ctx: OutgoingContext) -> None:
        log.append("outgoing")

    endpoint = pond.create_endpoint("/socket", socket, step(log, "c1"), step(log, "c2"))
    lobby = endpoint.create_channel("/room/:id", room, step(log, "j1"), step(log, "j2"))
    assert lobby.on_message("say", say, step(log, "e1"), step(log, "e2")) is say
    assert lobby.on_outgoing("said", said, outgoing_step(log, "o1")) is said
    assert lobby.on_leave(leave, step(log, "l1")) is leave
    assert endpoint.on_message("ask", ask, step(log, "g1"), middlewares=[step(log, "g0")]) is ask

    assert await played(pond, log) == [
        *("c1", "c2", "connect", "j1", "j2", "join", "e1", "e2", "event", "o1", "outgoing"),
        *("g0", "g1", "gateway", "l1", "leave"),
    ]


async def test_every_registration_works_as_a_decorator() -> None:
    log: list[str] = []
    pond = PondSocket()

    @pond.endpoint("/socket", middlewares=[step(log, "c1"), step(log, "c2")])
    async def socket(ctx: ConnectionContext) -> None:
        log.append("connect")
        ctx.accept()

    @socket.channel("/room/:id", middlewares=[step(log, "j1"), step(log, "j2")])
    async def room(ctx: JoinContext) -> None:
        log.append("join")
        await ctx.accept()

    @room.on_message("say", middlewares=[step(log, "e1"), step(log, "e2")])
    async def say(ctx: EventContext) -> None:
        log.append("event")
        await ctx.broadcast("said", {})

    @room.on_outgoing("said", middlewares=[outgoing_step(log, "o1")])
    def said(ctx: OutgoingContext) -> None:
        log.append("outgoing")

    @room.on_leave
    async def leave(ctx: LeaveContext) -> None:
        log.append("leave")

    @socket.on_message("ask", middlewares=[step(log, "g1")])
    async def ask(ctx: GatewayContext) -> str:
        log.append("gateway")
        return "done"

    assert isinstance(socket, Endpoint)
    assert isinstance(room, Lobby)
    assert [say.__name__, said.__name__, leave.__name__, ask.__name__] == [
        *("say", "said", "leave", "ask")
    ]
    assert await played(pond, log) == [
        *("c1", "c2", "connect", "j1", "j2", "join", "e1", "e2", "event", "o1", "outgoing"),
        *("g1", "gateway", "leave"),
    ]


async def test_a_lobby_of_its_own_module_is_included() -> None:
    lobby = Lobby("/room/:id", accept_join)

    @lobby.on_message("say")
    async def say(ctx: EventContext) -> str:
        return "heard"

    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    async with connect(pond, "/socket") as ann:
        assert isinstance((await ann.join(ROOM)).payload, NotFound)
        endpoint.include(lobby)
        assert (await ann.join(ROOM)).payload == Acknowledged()
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "say"))
        assert answer.payload == {"result": "heard"}
        assert [channel.name for channel in await lobby.list_channels()] == [ROOM]


async def test_an_included_lobby_obeys_the_ponds_options_and_hooks() -> None:
    setup = build()
    lobby = Lobby("/other/:id", accept_join)
    setup.endpoint.include(lobby)
    assert lobby.environment is setup.lobby.environment


async def test_the_first_included_lobby_that_matches_wins() -> None:
    async def first(ctx: JoinContext) -> str:
        return "first"

    async def second(ctx: JoinContext) -> str:
        return "second"

    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    endpoint.include(Lobby("/:any", first))
    endpoint.include(Lobby("/*", second))
    async with connect(pond, "/socket") as ann:
        assert (await ann.join("/room")).payload == Acknowledged(response="first")


def test_a_lobby_belongs_to_one_endpoint() -> None:
    setup = build()
    with pytest.raises(UsageError, match="is part of an endpoint already; make another lobby"):
        setup.endpoint.include(setup.lobby)
    with pytest.raises(UsageError, match="is part of an endpoint already"):
        setup.pond.create_endpoint("/other", admit).include(setup.lobby)


def test_what_fails_to_register_leaves_nothing() -> None:
    setup = build()
    with pytest.raises(UsageError):
        setup.lobby.on_message("ask", lambda ctx, unknown: None)
    with pytest.raises(UsageError):
        setup.endpoint.create_channel("/bad/:id", lambda ctx, unknown: None)
    assert not setup.endpoint.routing.serves("/bad/1")


async def test_a_function_may_be_registered_twice() -> None:
    setup = build()

    @setup.lobby.on_message("one")
    @setup.lobby.on_message("two")
    async def handler(ctx: EventContext) -> str:
        return ctx.event_name

    async with member(setup, "ann") as ann:
        for event in ("one", "two"):
            answer = await ann.answer(ann.send("BROADCAST", ROOM, event))
            assert answer.payload == {"result": event}


def test_a_reserved_event_cannot_be_handled() -> None:
    setup = build()
    for register in (setup.lobby.on_message, setup.endpoint.on_message):
        with pytest.raises(UsageError, match="a name of the protocol's own"):
            register("ACKNOWLEDGE", accept_join)


async def test_middleware_that_stops_a_request_may_return_its_error() -> None:
    async def full(ctx: Any, next: Next) -> PondError:  # noqa: A002
        return PondError("It is full.", 409)

    async def late(ctx: Any, next: Next) -> PondError:  # noqa: A002
        await next()
        return PondError("It is full.", 409)

    async def say(ctx: EventContext) -> str:
        return ctx.event_name

    setup = build()
    setup.pond.create_endpoint("/full", admit, full)
    setup.endpoint.create_channel("/full/:room_id", accept_join, full)
    setup.lobby.on_message("full", say, full)
    setup.lobby.on_message("late", say, late)
    with pytest.raises(ConnectionRefused) as refused:
        async with connect(setup.pond, "/full?user=ann"):
            pass
    assert (refused.value.code, refused.value.message) == (409, "It is full.")
    async with member(setup, "ann") as ann:
        refusal = await ann.join("/full/1")
        assert isinstance(refusal.payload, Refused)
        assert refusal.payload.code == 409
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "full", {}))
        assert isinstance(answer.payload, Fault)
        assert (answer.event, answer.payload.code) == ("CHANNEL_ERROR", 409)
        # The handler has answered.
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "late", {}))
        assert answer.payload == {"result": "late"}
        assert ann.unread == []
