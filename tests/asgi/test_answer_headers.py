"""What a host and its middleware have found out, and headers of the answer, over ASGI."""

import json
from collections.abc import Callable
from typing import Any

import fastapi
import pytest
from pondsocket import ConnectionContext, ConnectRequest, PondError, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, SSESession, WebSocketSession

from tests.asgi.conftest import HTTP_RESPONSE, Pond

FOUND: dict[str, Any] = {
    "session": {"user": "ann"},
    "user": "ann",
    "auth": ["yes"],
    "state": {"db": 1},
    "path_params": {"tenant": "acme"},
}


def driver_of(handler: Callable[[ConnectionContext], object], **endpoint: Any) -> ASGITestDriver:
    pond = PondSocket()
    pond.create_endpoint("/socket", handler, **endpoint)
    app = PondASGIApp(pond)

    async def host(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, **FOUND}, receive, send)

    return ASGITestDriver(host)


async def open_each(driver: ASGITestDriver) -> list[WebSocketSession | SSESession]:
    return [
        await driver.connect_websocket("/socket", extensions=HTTP_RESPONSE),
        await driver.connect_sse("/socket"),
    ]


async def test_a_handler_reads_what_middleware_has_put_into_the_scope() -> None:
    seen: list[dict[str, Any]] = []

    def handler(ctx: ConnectionContext) -> None:
        seen.append({key: ctx.scope[key] for key in FOUND} | {"type": ctx.scope["type"]})
        ctx.accept()

    for session in await open_each(driver_of(handler)):
        assert session.accepted
        await session.disconnect()
    assert seen == [FOUND | {"type": "websocket"}, FOUND | {"type": "http"}]


async def test_the_identity_of_a_post_is_read_from_its_own_scope() -> None:
    asked: list[str] = []

    def identity(request: ConnectRequest) -> str:
        asked.append(request.scope["method"])
        return request.scope["session"]["user"]  # type: ignore[no-any-return]

    driver = driver_of(lambda ctx: ctx.accept(), identity=identity)
    sse = await driver.connect_sse("/socket")
    join = {"action": "LEAVE_CHANNEL", "event": "x", "channelName": "/c", "requestId": "1"}
    assert await driver.sse_push(sse.connection_id, join | {"payload": {}}) == (204, b"")
    await sse.disconnect()
    assert asked == ["GET", "POST"]


async def test_headers_and_cookies_are_in_the_accept_and_in_the_response() -> None:
    def handler(ctx: ConnectionContext) -> None:
        ctx.set_header("X-Trace", "caf\xe9")
        ctx.set_cookie("a", "1")
        ctx.set_cookie("b", "2")
        ctx.accept()

    for session in await open_each(driver_of(handler)):
        assert session.accepted
        assert session.headers["x-trace"] == "caf\xe9"
        assert [each[:3] for each in session.headers.getall("set-cookie")] == ["a=1", "b=2"]
        await session.disconnect()


def decline(ctx: ConnectionContext) -> None:
    ctx.decline(401, "Sign in.", headers={"WWW-Authenticate": "Basic"})


def raise_pond_error(ctx: ConnectionContext) -> None:
    raise PondError("Sign in.", 401, headers={"WWW-Authenticate": "Basic"})


def raise_http_error(ctx: ConnectionContext) -> None:
    raise fastapi.HTTPException(401, "Sign in.", {"WWW-Authenticate": "Basic"})


@pytest.mark.parametrize("handler", [decline, raise_pond_error, raise_http_error])
async def test_headers_are_in_a_refusal(handler: Any) -> None:
    def cookie_and(ctx: ConnectionContext) -> None:
        ctx.set_cookie("a", max_age=0)
        handler(ctx)

    for session in await open_each(driver_of(cookie_and)):
        assert (session.status, session.headers["www-authenticate"]) == (401, "Basic")
        assert session.headers["set-cookie"].startswith("a=; Path=/; Max-Age=0")
        assert json.loads(session.body)["message"] == "Sign in."
        await session.disconnect()


async def test_a_post_is_refused_as_its_identity_says() -> None:
    def identity(request: ConnectRequest) -> str:
        if request.scope["method"] == "POST":
            raise fastapi.HTTPException(401, "Expired.", {"X-Why": "it", "X-Bad": "a\nb"})
        return "ann"

    driver = driver_of(lambda ctx: ctx.accept(), identity=identity)
    sse = await driver.connect_sse("/socket")
    ping = {"action": "ping", "requestId": "1"}
    answer = await driver.sse_push(sse.connection_id, ping)
    assert (answer.status, json.loads(answer.body)["message"]) == (401, "Expired.")
    assert (answer.headers["x-why"], answer.headers["www-authenticate"]) == ("it", "Bearer")
    assert "x-bad" not in answer.headers
    await sse.disconnect()


async def test_a_refusal_says_why_and_when_to_come_back() -> None:
    for code, name, value in [(401, "www-authenticate", "Bearer"), (503, "retry-after", "5")]:
        for session in await open_each(driver_of(lambda ctx, code=code: ctx.decline(code))):  # type: ignore[misc]
            assert session.headers.getall(name) == [value]
            await session.disconnect()


@pytest.mark.parametrize(
    ("subprotocols", "headers"),
    [
        # As servers give one header: split; as one text; and taken out of the headers.
        (["bearer", "s3cret"], [(b"sec-websocket-protocol", b"bearer, s3cret")]),
        (["bearer, s3cret"], [(b"Sec-WebSocket-Protocol", b"bearer, s3cret")]),
        ("bearer,s3cret", []),
        (["bearer", "s3cret"], []),
    ],
)
async def test_a_token_is_read_from_the_offer_on_every_server(
    subprotocols: Any, headers: list[tuple[bytes, bytes]]
) -> None:
    pond = Pond(subprotocols=["bearer"])

    async def server(scope: Any, receive: Any, send: Any) -> None:
        await pond.app({**scope, "subprotocols": subprotocols, "headers": headers}, receive, send)

    session = await ASGITestDriver(server).connect_websocket("/socket")
    assert session.subprotocol == "bearer"
    assert "s3cret" not in str(session.headers.getall("sec-websocket-protocol"))
    (ctx,) = pond.contexts
    assert ctx.subprotocols == ("bearer", "s3cret")
    (offer,) = ctx.headers.getall("sec-websocket-protocol")
    assert offer.replace(" ", "") == "bearer,s3cret"
    await session.disconnect()


async def test_an_accepted_websocket_keeps_no_scope() -> None:
    pond = Pond()
    session = await pond.driver.connect_websocket("/socket")
    (ctx,) = pond.contexts
    assert dict(ctx.request.scope) == {}
    await session.disconnect()
