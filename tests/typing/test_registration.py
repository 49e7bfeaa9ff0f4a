"""What the type checker makes of decorators and dependencies. mypy reads it; pytest runs it too."""

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import assert_type

from pondsocket import (
    CloseCode,
    ConnectionContext,
    ConnectionHandle,
    Depends,
    DisconnectContext,
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
    Router,
    SyncEventContext,
    SyncGatewayContext,
    on_join,
    on_leave,
    on_message,
)
from pondsocket.testing import connect


class Database:
    pass


def plain() -> Database:
    return Database()


async def waits() -> Database:
    return Database()


def generates() -> Iterator[Database]:
    yield Database()


async def generates_async() -> AsyncIterator[Database]:
    yield Database()


def awaitable() -> Awaitable[Database]:
    return waits()


def test_a_dependency_is_typed_as_what_it_gives() -> None:
    assert_type(Depends(plain), Database)
    assert_type(Depends(waits), Database)
    assert_type(Depends(generates), Database)
    assert_type(Depends(generates_async), Database)
    assert_type(Depends(awaitable), Database)
    assert_type(Depends(Database), Database)
    assert_type(Depends(plain, use_cache=False), Database)


pond = PondSocket()


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext) -> None:
    ctx.accept()


@socket.channel("/room/:id")
async def room(ctx: JoinContext, db: Database = Depends(generates_async)) -> str:
    return type(db).__name__


@room.on_message("ask")
async def ask(ctx: EventContext, text: str, db: Database = Depends(plain)) -> int:
    return len(text)


@room.on_message("report")
def report(ctx: SyncEventContext, text: str) -> int:
    return len(text)


@room.on_leave
async def leave(ctx: LeaveContext) -> None: ...


@room.on_outgoing("said")
def said(ctx: OutgoingContext) -> None: ...


@socket.on_message("add")
async def add(a: int, b: int) -> int:
    return a + b


@room.on_message("read", confirm=True)
async def read(ctx: EventContext) -> None: ...


@socket.on_message("find", confirm=True)
def find(text: str) -> dict[str, int] | PondError:
    return PondError("There is none.", 404)


async def test_a_handler_is_typed_as_it_is_written() -> None:
    assert_type(await ask(None, "x"), int)  # type: ignore[arg-type]
    assert_type(find("x"), dict[str, int] | PondError)
    async with connect(pond, "/socket") as ann:
        answer = await ann.answer(ann.send("BROADCAST", "GATEWAY", "find", {"text": "x"}))
        assert answer.event == "ENDPOINT_ERROR"
        await ann.join("/room/1")
        assert_type(ann.send("BROADCAST", "/room/1", "read", confirm=True), str)
        assert (await ann.receive_event("read")).payload == {}


async def only_endpoints(ctx: GatewayContext, next: Next) -> None:  # noqa: A002
    await ctx.push("checked", {"path": ctx.path})
    await next()


async def any_event(ctx: EventContext, next: Next) -> None:  # noqa: A002
    await next()


@socket.on_message("push", middlewares=[only_endpoints, any_event])
async def push(ctx: GatewayContext) -> bool:
    assert_type(ctx.connection, ConnectionHandle)
    assert_type(ctx.connection.push("event"), bool)
    return ctx.connection.is_open


def push_plainly(ctx: SyncGatewayContext) -> None:
    ctx.push("event", {"n": 1}, channel="/room/1")
    ctx.close("done")


@socket.on_disconnect
async def disconnected(ctx: DisconnectContext) -> None:
    assert_type(ctx.code, CloseCode | int)


async def test_middleware_of_the_endpoints_events_is_none_of_a_channels() -> None:
    room.on_message("refused", middlewares=[only_endpoints])  # type: ignore[list-item]
    assert_type(await pond.push("ann", "event"), int)


async def test_decorated_names_are_what_the_page_says() -> None:
    assert_type(socket, Endpoint)
    assert_type(room, Lobby)
    assert_type(await add(1, 2), int)
    assert_type(report(None, "x"), int)  # type: ignore[arg-type]
    async with connect(pond, "/socket") as ann:
        answer = await ann.answer(ann.send("BROADCAST", "GATEWAY", "add", {"a": 1, "b": 2}))
    assert answer.payload == {"result": 3}


router = Router()


@router.channel("/shop")
async def shop(ctx: JoinContext) -> None: ...


@router.on_message("add")
async def routed(a: int, b: int) -> int:
    return a + b


class Board:
    @on_join
    async def join(self, ctx: JoinContext) -> None: ...

    @on_message("add")
    async def add(self, a: int, b: int) -> int:
        return a + b

    @on_leave()
    def leave(self) -> None: ...


async def test_decorators_of_routers_and_methods_keep_types() -> None:
    assert_type(shop, Lobby)
    assert_type(await routed(1, 2), int)
    assert_type(await Board().add(1, 2), int)
    assert_type(Board().leave(), None)
