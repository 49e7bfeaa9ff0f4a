"""Classes whose instances are included: their methods are handlers."""

from collections.abc import Callable
from typing import Any

import pytest
from pondsocket import (
    Depends,
    EventContext,
    History,
    JoinContext,
    LeaveContext,
    OutgoingContext,
    PondSocket,
    Router,
    UsageError,
    channel,
    on_join,
    on_leave,
    on_message,
    on_outgoing,
)
from pondsocket.testing import connect
from pondsocket_common import Acknowledged
from pydantic import BaseModel

from tests.core.groups import accept, ask, noting, noting_joins


class Said(BaseModel):
    text: str


def get_suffix() -> str:
    return "!"


class Board:
    """Handlers that share an object; what they are given depends on where they are included."""

    def __init__(self, db: list[str]) -> None:
        self.db = db

    @on_message("say")
    async def say(self, ctx: EventContext, text: str, suffix: str = Depends(get_suffix)) -> Said:
        self.db.append(text)
        return Said(text=text + suffix)

    @on_message("count")
    def count(self) -> int:
        return len(self.db)

    @staticmethod
    @on_message("static")
    async def static(ctx: EventContext) -> str:
        return ctx.event_name

    @on_message("class")
    @classmethod
    async def of_class(cls, ctx: EventContext) -> str:
        return cls.__name__

    def no_handler(self) -> None: ...


async def test_an_instance_is_included_in_an_endpoint_a_lobby_or_a_router() -> None:
    pond, router, db = PondSocket(), Router(prefix="/r"), ["first"]
    endpoint = pond.create_endpoint("/socket")
    endpoint.include(Board(db))
    endpoint.create_channel("/chat", accept).include(Board(db))
    router.include(Chat())
    endpoint.include(router)
    assert await ask(pond, "say", payload={"text": "a"}) == {"text": "a!"}
    assert await ask(pond, "say", "/chat", {"text": "b"}) == {"text": "b!"}
    assert await ask(pond, "count", "/chat") == 3
    assert await ask(pond, "static") == "static"
    assert await ask(pond, "class") == "Board"
    assert await ask(pond, "where", "/r/chat/7") == 7
    assert db == ["first", "a", "b"]


async def test_instances_at_two_endpoints_share_nothing() -> None:
    pond = PondSocket()
    for path in ("/one", "/two"):
        pond.create_endpoint(path).include(Board([]))
    for path in ("/one", "/two"):
        assert await ask(pond, "say", payload={"text": "a"}, path=path) == {"text": "a!"}
        assert await ask(pond, "count", path=path) == 1


async def test_one_instance_may_be_included_in_several_places() -> None:
    pond, board = PondSocket(), Board([])
    for path in ("/one", "/two"):
        pond.create_endpoint(path).include(board)
    await ask(pond, "say", payload={"text": "a"}, path="/one")
    assert await ask(pond, "count", path="/two") == 1


async def test_dependencies_of_methods_are_overridden() -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket").include(Board([]))
    pond.dependency_overrides[get_suffix] = lambda: "?"
    assert await ask(pond, "say", payload={"text": "a"}) == {"text": "a?"}


@channel("/chat/:room_id", history=History(size=10))
class Chat:
    """A class that is the lobby of a channel pattern."""

    def __init__(self) -> None:
        self.left: list[str] = []

    @on_join
    async def join(self, ctx: JoinContext, room_id: int) -> dict[str, int]:
        return {"room": room_id}

    @on_message("where")
    async def where(self, room_id: int) -> int:
        return room_id

    @on_message("say")
    async def say(self, ctx: EventContext, text: str) -> None:
        await ctx.broadcast("said", {"text": text})

    @on_outgoing("said")
    def shout(self, ctx: OutgoingContext) -> None:
        ctx.transform({"text": ctx.get_payload()["text"].upper()})

    @on_leave
    async def leave(self, ctx: LeaveContext) -> None:
        self.left.append(ctx.channel.name)


async def test_a_class_with_a_channel_is_its_lobby() -> None:
    pond, chat = PondSocket(), Chat()
    pond.create_endpoint("/socket").include(chat)
    async with connect(pond, "/socket") as ann:
        joined = await ann.join("/chat/7")
        assert isinstance(joined.payload, Acknowledged)
        assert (joined.payload.response, joined.payload.offset) == ({"room": 7}, 0)
        ann.send("BROADCAST", "/chat/7", "say", {"text": "hi"})
        assert (await ann.receive_event("said")).payload == {"text": "HI"}
    assert chat.left == ["/chat/7"]


async def test_handlers_of_a_lobby_may_come_from_a_class() -> None:
    class Filters:
        @on_outgoing("said", middlewares=())
        async def shout(self, ctx: OutgoingContext) -> None:
            ctx.transform({"text": "!"})

        @on_leave()
        def leave(self) -> None:
            left.append("left")

        @on_message("say")
        async def say(self, ctx: EventContext) -> None:
            await ctx.broadcast("said", {})

    left: list[str] = []
    pond = PondSocket()
    pond.create_endpoint("/socket").create_channel("/chat", accept).include(Filters())
    async with connect(pond, "/socket") as ann:
        await ann.join("/chat")
        ann.send("BROADCAST", "/chat", "say")
        assert (await ann.receive_event("said")).payload == {"text": "!"}
    assert left == ["left"]


async def test_middleware_stands_at_the_methods_and_at_the_class() -> None:
    log: list[str] = []

    @channel("/chat", middlewares=[noting_joins(log, "class")])
    class Noted:
        @on_join(middlewares=[noting_joins(log, "join")])
        async def join(self, ctx: JoinContext) -> None:
            await ctx.accept()

        @on_message("a", middlewares=[noting(log, "own")])
        async def a(self) -> str:
            return "a"

    pond, router = PondSocket(), Router()
    router.include(Noted())
    router.use(noting(log, "router"))
    pond.create_endpoint("/socket").include(router)
    assert await ask(pond, "a", "/chat") == "a"
    assert log == ["class", "join", "router", "own"]


async def test_a_subclass_overrides_methods_and_its_handlers_are_registered_once() -> None:
    class Base:
        @on_message("say")
        async def say(self) -> str:
            return "base"

        @on_message("kept")
        async def kept(self) -> str:
            return f"kept, and {self.extra()}"

        @on_message("renamed")
        async def renamed(self) -> str:
            return "base"

        @on_message("removed")
        async def removed(self) -> str:
            return "base"

        def extra(self) -> str:
            return "base"

        @on_message("rest-*")
        async def rest(self) -> str:
            return "rest of base"

    class Sub(Base):
        @on_message("rest-1")
        async def first(self) -> str:
            return "first"

        async def say(self) -> str:
            return f"sub of {await super().say()}"

        def extra(self) -> str:
            return "sub"

        @on_message("other")
        async def renamed(self) -> str:
            return "renamed"

        @on_message("*")
        async def everything(self, ctx: EventContext) -> str:
            return f"* {ctx.event_name}"

        removed = None  # type: ignore[assignment]

    pond = PondSocket()
    pond.create_endpoint("/socket").include(Sub())
    answers = {
        event: await ask(pond, event)
        for event in ("say", "kept", "other", "renamed", "removed", "rest-1", "rest-2")
    }
    assert answers == {
        "say": "sub of base",
        "kept": "kept, and sub",
        "other": "renamed",
        "renamed": "* renamed",
        "removed": "* removed",
        "rest-1": "first",
        "rest-2": "rest of base",
    }


async def test_one_method_may_handle_several_events() -> None:
    class Both:
        @on_message("a")
        @on_message("b")
        async def both(self, ctx: EventContext) -> str:
            return ctx.event_name

    pond = PondSocket()
    pond.create_endpoint("/socket").include(Both())
    assert [await ask(pond, event) for event in ("a", "b")] == ["a", "b"]


class Joining:
    @on_join
    async def join(self, ctx: JoinContext) -> None: ...


@channel("/chat")
class Joinless:
    @on_message("a")
    async def a(self) -> None: ...


class Leaving:
    @on_leave
    async def leave(self, ctx: LeaveContext) -> None: ...


class Selfless:
    @on_message("a")
    async def a(ctx: EventContext) -> None: ...  # type: ignore[misc]  # noqa: N805


class Empty:
    def a(self) -> None: ...


class Twice:
    @on_message("a")
    async def a(self) -> None: ...

    @on_message("a")
    async def b(self) -> None: ...


class Mistyped:
    @on_message("a")
    async def a(self, ctx: JoinContext) -> None: ...


MISTAKES: dict[str, tuple[Callable[..., Any], str]] = {
    "the class": (
        lambda e, _: e.include(Board),
        r"endpoint '/socket': Board is a class; include an instance of it: `include\(Board\(…\)\)`",
    ),
    "the class, in a lobby": (lambda _, lobby: lobby.include(Chat), r"include\(Chat\(…\)\)"),
    "the class, in a router": (lambda *_: Router().include(Board), r"include\(Board\(…\)\)"),
    "an unbound method": (
        lambda e, _: e.on_message("a", Board.say),
        r"say is a method of Board and has no instance here: .*`Board\(…\).say`",
    ),
    "an unbound method, joining": (
        lambda e, _: e.create_channel("/a", Joining.join),
        r"`include\(Joining\(…\)\)`",
    ),
    "an unbound method, outgoing": (
        lambda _, lobby: lobby.on_outgoing("a", Chat.shout),
        r"`Chat\(…\).shout`",
    ),
    "an unbound method, in a router": (
        lambda *_: Router().on_message("a", Board.count),
        r"`Board\(…\).count`",
    ),
    "no handlers": (lambda e, _: e.include(Empty()), "whose class has methods with `@on_message"),
    "twice": (
        lambda e, _: [e.include(board) for board in [Board([])] * 2],
        r"this Board\(…\) is included there already",
    ),
    "another of its class": (
        lambda e, _: [e.include(Board([])) for _ in range(2)],
        "event 'say': this is registered already",
    ),
    "one event twice": (lambda e, _: e.include(Twice()), "event 'a': this is registered already"),
    "a join without a channel": (
        lambda e, _: e.include(Joining()),
        r'class Joining: .* write `@channel\("/name"\)` above the class',
    ),
    "a channel without a join": (
        lambda e, _: e.include(Joinless()),
        "has none|has no|one has none",
    ),
    "a channel in a lobby": (
        lambda _, lobby: lobby.include(Chat()),
        "channels of its own, '/chat/:room_id'; include it in the endpoint",
    ),
    "leaves of an endpoint": (lambda e, _: e.include(Leaving()), "`@on_leave` is of a channel"),
    "no self": (lambda e, _: e.include(Selfless()), "write `self` as the first parameter of a"),
    "another context": (lambda e, _: e.include(Mistyped()), "event handler is given"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_what_to_write(name: str) -> None:
    make, text = MISTAKES[name]
    endpoint = PondSocket().create_endpoint("/socket")
    lobby = endpoint.create_channel("/lobby", accept)
    with pytest.raises(UsageError, match=text):
        make(endpoint, lobby)


def test_a_method_decorated_by_a_lobby_inside_its_class_is_refused() -> None:
    lobby = PondSocket().create_endpoint("/socket").create_channel("/lobby", accept)
    with pytest.raises(UsageError, match=r"write `@on_message\(…\)` of pondsocket inside the clas"):

        class Decorated:
            @lobby.on_message("a")
            async def a(self, ctx: EventContext) -> None: ...
