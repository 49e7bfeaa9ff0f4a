"""Routers, classes, middleware of groups and error handlers, over both transports."""

from typing import Any

import anyio
import pytest
from pondsocket import (
    ErrorContext,
    EventContext,
    JoinContext,
    LeaveContext,
    Next,
    PondSocket,
    Router,
    channel,
    on_join,
    on_leave,
    on_message,
)
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver

from tests.asgi.conftest import Session

router = Router(prefix="/shop/:shop_id")


@router.channel("/orders")
async def orders(ctx: JoinContext, shop_id: int) -> dict[str, int]:
    return {"shop": shop_id}


@orders.on_message("order")
async def order(ctx: EventContext, shop_id: int, what: str) -> str:
    await ctx.broadcast("ordered", {"what": what})
    return f"{what} of {shop_id}"


@router.on_message("fail")
async def fail(ctx: EventContext) -> None:
    raise LookupError("the application's secret")


@channel("/board/:name")
class Board:
    def __init__(self) -> None:
        self.left: list[str] = []

    @on_join
    async def join(self, ctx: JoinContext, name: str) -> dict[str, str]:
        return {"board": name}

    @on_message("write")
    async def write(self, name: str, text: str) -> dict[str, str]:
        return {"on": name, "text": text}

    @on_leave
    async def leave(self, ctx: LeaveContext) -> None:
        self.left.append(ctx.channel.name)


class Structure:
    """A pond that is made of parts, and a driver for it."""

    def __init__(self) -> None:
        self.pond, self.board = PondSocket(), Board()
        self.log: list[str] = []
        self.errors: list[ErrorContext] = []
        endpoint = self.pond.create_endpoint("/socket")
        endpoint.include(router)
        endpoint.include(self.board)
        endpoint.use(self._note)
        self.pond.on_error(self._keep)
        self.driver = ASGITestDriver(PondASGIApp(self.pond))

    async def _note(self, ctx: EventContext, next: Next) -> object:  # noqa: A002
        self.log.append(ctx.event_name)
        return await next()

    async def _keep(self, ctx: ErrorContext) -> None:
        self.errors.append(ctx)

    async def connect(self, transport: str) -> Session:
        if transport == "sse":
            return await self.driver.connect_sse("/socket")
        return await self.driver.connect_websocket("/socket")


async def join(session: Session, name: str) -> Any:
    await session.send_client_message(action="JOIN_CHANNEL", channel_name=name, event="join")
    return (await session.receive_event_named("ACKNOWLEDGE"))["payload"]["response"]


async def ask(session: Session, name: str, event: str, **payload: str) -> None:
    await session.send_client_message(
        action="BROADCAST", channel_name=name, event=event, payload=payload
    )


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_parts_are_served_as_what_is_registered_directly(transport: str) -> None:
    parts = Structure()
    session = await parts.connect(transport)
    assert await join(session, "/shop/3/orders") == {"shop": 3}
    await ask(session, "/shop/3/orders", "order", what="tea")
    assert (await session.receive_event_named("ordered"))["payload"] == {"what": "tea"}
    assert (await session.receive_event_named("order"))["payload"] == {"result": "tea of 3"}
    assert await join(session, "/board/news") == {"board": "news"}
    await ask(session, "/board/news", "write", text="hi")
    answer = await session.receive_event_named("write")
    assert answer["payload"] == {"on": "news", "text": "hi"}
    await session.disconnect()
    assert parts.board.left == ["/board/news"]
    assert parts.log == ["order", "write"]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_an_error_is_told_beside_the_answer(transport: str) -> None:
    parts = Structure()
    session = await parts.connect(transport)
    await ask(session, "GATEWAY", "fail")
    answer = await session.receive_event_named("INTERNAL_SERVER_ERROR")
    assert "secret" not in str(answer)
    with anyio.fail_after(5):
        while not parts.errors:
            await anyio.lowlevel.checkpoint()
    (error,) = parts.errors
    assert (error.kind, error.event, error.path) == ("event", "fail", "/socket")
    assert str(error.error) == "the application's secret"
    await session.disconnect()
