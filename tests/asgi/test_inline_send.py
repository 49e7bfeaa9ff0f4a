"""Sends that the sender makes itself, and the writer task only where they wait."""

import asyncio
import functools
import gc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import ConnectionContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._sending.server_send import ServerSend, server_send
from pondsocket_asgi._transport.connection import Connection
from pondsocket_asgi.testing import ASGITestDriver
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount

from tests.asgi import known_middlewares
from tests.asgi.asgi_connections import (
    KINDS,
    ASGIConnection,
    Kind,
    PondSetup,
    loop_of,
    members,
    turns,
)
from tests.asgi.conftest import Pond, join, say
from tests.asgi.known_middlewares import AROUND, MANY, SOCKETS_ALONE, in_fastapi, in_starlette
from tests.frames import frame_of

pytestmark = pytest.mark.usefixtures("resets")

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


@pytest.fixture
def anyio_backend(monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """Return the loop on which sends can be stepped, and connections that let themselves be."""
    return loop_of("stepped", monkeypatch)


def connection_of(setup: PondSetup, user: str) -> Connection:
    (session,) = (each for each in setup.endpoint.sessions if each.user_id == user)
    assert isinstance(session.sink, Connection)
    return session.sink


def tell_at_once(setup: PondSetup, *numbers: int) -> None:
    """Broadcast in a callback of the loop, which runs in no task."""
    done: list[int] = []
    channel = setup.pond.channel("/socket", "/room/1")

    def call() -> None:
        assert asyncio.current_task() is None
        for number in numbers:
            channel.broadcast_nowait("tick", {"n": number})
            setup.pond._environment.loop_turn.flush()
            done.append(number)

    asyncio.get_running_loop().call_soon(call)


# --- one connection, from state to state ------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_who_never_waited_has_no_writer(kind: Kind) -> None:
    setup = PondSetup()
    before = len(asyncio.all_tasks())
    async with members(setup, kind, "ann", "bob") as (ann, bob):
        settled = len(asyncio.all_tasks())
        await setup.tell(*range(100))
        assert ann.numbers() == bob.numbers() == [*range(100)]
        assert len(asyncio.all_tasks()) == settled
        assert connection_of(setup, "ann")._writer._task is None
        assert connection_of(setup, "ann").pending == 0
        # The server's own task of each connection, and the clock of all.
        assert settled - before == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_callback", [False, True])
async def test_frames_keep_their_order_through_every_state(kind: Kind, in_callback: bool) -> None:
    setup = PondSetup()

    async def tell(*numbers: int) -> None:
        if in_callback:
            tell_at_once(setup, *numbers)
            await turns(2)
        else:
            await setup.tell(*numbers)

    async with members(setup, kind, "ann", "bob") as (ann, bob):
        for begin in (0, 100, 200):
            await tell(begin, begin + 1)
            assert connection_of(setup, "ann").pending == 0
            ann.stall()
            await tell(begin + 2)  # it has begun, and waits
            assert ann.sending == 1
            assert connection_of(setup, "ann").pending == 1
            await tell(begin + 3)  # queued
            await turns()
            await tell(begin + 4)
            assert ann.numbers()[-1] == begin + 1
            assert bob.numbers()[-1] == begin + 4
            assert connection_of(setup, "ann").pending == 3
            ann.resume()
            await turns()
            assert connection_of(setup, "ann").pending == 0
            await tell(begin + 5)  # without the writer again, which sleeps
        expected = [begin + number for begin in (0, 100, 200) for number in range(6)]
        assert ann.numbers() == bob.numbers() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_callback", [False, True])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    "error", [OSError("gone"), RuntimeError("closing"), asyncio.CancelledError()]
)
async def test_a_send_that_fails_ends_its_connection_and_no_other(
    kind: Kind, in_callback: bool, waits: bool, error: BaseException
) -> None:
    setup = PondSetup()

    async def failing(message: Any) -> None:
        if waits:
            await anyio.lowlevel.checkpoint()
        raise error

    async with members(setup, kind, "ann", "bob") as (ann, bob):
        ann.send_with(failing)
        if in_callback:
            tell_at_once(setup, 1, 2)
        else:
            await setup.tell(1, 2)
            assert await setup.users() == 2  # the sender closes no connection
        await ann.ended.wait()
        assert await setup.users() == 1
        assert bob.numbers() == [1, 2]
        assert ann.error is None


async def test_what_is_to_end_the_process_is_not_kept_from_it() -> None:
    setup = PondSetup()

    async def interrupted(message: Any) -> None:
        raise KeyboardInterrupt

    async with members(setup, "websocket", "ann") as (ann,):
        ann.send_with(interrupted)
        with pytest.raises(KeyboardInterrupt):
            connection_of(setup, "ann").offer(_frame())
        ann.send_with(ann.take)


def _frame() -> Any:

    return frame_of(b"{}", "tick")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["free", "begun", "queued"])
@pytest.mark.parametrize("end", ["leave", "close", "overflow", "cancel", "disconnect"])
async def test_every_state_ends_clean(kind: Kind, state: str, end: str) -> None:
    setup = PondSetup(outbox_frames=4, write_timeout=100)
    async with members(setup, kind, "ann", "bob") as (ann, bob):
        if state != "free":
            ann.stall()
            await setup.tell(1)
            if state == "queued":
                await turns()
                await setup.tell(2)
        (session,) = (each for each in setup.endpoint.sessions if each.user_id == "ann")
        match end:
            case "leave":
                ann.leave()
            case "overflow":
                session.overflow()
            case "cancel":
                ann.scope.cancel()
            case "disconnect":
                await setup.pond.disconnect(user_id="ann")
            case _:
                session.close(session.close_code)
        await ann.ended.wait()
        assert ann.sending == 0
        assert ann.error is None
        assert await setup.users() == 1
        await setup.tell(9)
        assert bob.numbers()[-1] == 9
        assert 9 not in ann.numbers()
    del session
    gc.collect()  # what was never awaited is said now, and fails the test


@pytest.mark.parametrize("kind", KINDS)
async def test_a_send_that_waits_too_long_is_given_up(kind: Kind, resets: list[str]) -> None:
    setup = PondSetup(write_timeout=10)
    async with members(setup, kind, "ann", "bob") as (ann, bob):
        ann.stall()
        tell_at_once(setup, 1)
        await turns()
        began = anyio.current_time()
        await ann.ended.wait()
        assert 10 <= anyio.current_time() - began <= 13.5
        assert resets == ["ann"]
        assert bob.numbers() == [1]


async def test_the_writer_runs_in_the_connections_context_and_not_in_that_of_who_sends() -> None:
    import contextvars

    who = contextvars.ContextVar[str]("who", default="none")
    setup, seen = PondSetup(), list[str]()

    async def watching(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(who.get())

    async with members(setup, "websocket", "ann") as (ann,):
        ann.send_with(watching)
        who.set("a publisher")
        await setup.tell(1, 2)
        await turns()
        assert seen == ["none", "none"]


# --- whose sends may be stepped ---------------------------------------------------------------


def can_send_inline(send: Any) -> bool:
    return server_send(send, "websocket").is_inline


async def test_a_wrapper_that_bears_anothers_name_is_not_taken_for_it() -> None:
    setup = PondSetup()
    send = ASGIConnection(setup, "websocket")._send_here
    assert can_send_inline(send)

    @functools.wraps(send)
    async def wrapped(message: Any) -> None:
        with anyio.fail_after(1):
            await send(message)

    async def plain(message: Any) -> None:
        await send(message)

    assert not can_send_inline(wrapped)
    assert not can_send_inline(plain)
    assert not can_send_inline(functools.partial(send))
    assert not can_send_inline(object())


def test_without_a_loop_of_asyncio_none_may() -> None:
    async def send(message: Any) -> None: ...

    send.__module__ = "uvicorn.protocols.utils"
    assert not can_send_inline(send)


def limited(app: ASGIApp) -> ASGIApp:
    """Return a middleware that limits each send, as anyio does it."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            with anyio.fail_after(5):
                await anyio.lowlevel.checkpoint()
                await send(message)

        await app(scope, receive, sending)

    return wrapped


def timed(app: ASGIApp) -> ASGIApp:
    """Return the same as asyncio does it."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            async with asyncio.timeout(5):
                await asyncio.sleep(0)
                await send(message)

        await app(scope, receive, sending)

    return wrapped


async def leave_alone(request: Any, call_next: Any) -> Any:
    return await call_next(request)


def behind_base_middleware(app: ASGIApp) -> ASGIApp:
    return Starlette(
        routes=[Mount("/rt", app)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=leave_alone)],
    )


BOTH: dict[Kind, bool] = {"websocket": True, "sse": True}
HOSTS: dict[str, tuple[Callable[[ASGIApp], ASGIApp], str, dict[Kind, bool]]] = {
    "none": (lambda app: app, "", BOTH),
    **{
        name: (around, "/rt" if name.startswith(known_middlewares.HOSTS) else "", BOTH)
        for name, around in AROUND.items()
    },
    **{
        name: (around, "/rt", {"websocket": True, "sse": False})
        for name, around in SOCKETS_ALONE.items()
    },
    "base": (behind_base_middleware, "/rt", {"websocket": True, "sse": False}),
    "limited": (limited, "", {"websocket": False, "sse": False}),
    "timed": (timed, "", {"websocket": False, "sse": False}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", HOSTS)
async def test_hosts_and_their_middlewares_are_served(host: str, kind: Kind) -> None:
    around, prefix, stepped = HOSTS[host]
    pond = Pond()
    driver = ASGITestDriver(around(pond.app))
    dial = driver.connect_websocket if kind == "websocket" else driver.connect_sse
    async with AsyncExitStack() as connections:
        sessions = [await dial(f"{prefix}/socket") for _ in "ab"]
        for session in sessions:
            connections.push_async_callback(session.disconnect)
            await join(session)
        for each in pond.endpoint.sessions:
            assert isinstance(each.sink, Connection)
            assert each.sink._writer.can_send_inline is stepped[kind]
        await say(sessions[0], "1")
        for session in sessions:
            assert (await session.receive_event_named("said"))["payload"] == {"text": "1"}
        channel = pond.pond.channel("/socket", "/chat/1")
        for number in range(3):
            asyncio.get_running_loop().call_soon(
                functools.partial(channel.broadcast_nowait, "tick", {"n": number})
            )
        for session in sessions:
            numbers = [(await session.receive_event_named("tick"))["payload"]["n"] for _ in "123"]
            assert numbers == [0, 1, 2]


@pytest.mark.parametrize("in_host", [in_starlette, in_fastapi])
async def test_a_session_and_headers_of_middlewares_arrive(in_host: Any) -> None:
    async def sign_in(ctx: ConnectionContext) -> None:
        ctx.scope["session"]["user"] = ctx.scope["user"].display_name
        ctx.accept()

    pond = PondSocket()
    origins = ["https://a.example"]
    endpoint = pond.create_endpoint("/socket", sign_in, allowed_origins=origins)
    driver = ASGITestDriver(in_host(*MANY)(PondASGIApp(pond)))
    headers = [("origin", "https://a.example"), ("accept-encoding", "gzip")]
    stream = await driver.connect_sse("/rt/socket", headers=headers)
    (session,) = endpoint.sessions
    assert isinstance(session.sink, Connection)
    assert session.sink._writer.can_send_inline
    assert stream.headers["set-cookie"].startswith("session=ey")
    assert set(stream.headers.getall("access-control-allow-origin")) == set(origins)
    assert stream.headers["x-request-id"]
    assert "content-encoding" not in stream.headers
    cookie = stream.headers["set-cookie"].partition(";")[0]
    await stream.disconnect()
    socket = await driver.connect_websocket("/rt/socket", headers=[("cookie", cookie)])
    (session,) = endpoint.sessions
    assert isinstance(session.sink, Connection)
    assert session.sink._writer.can_send_inline
    await socket.disconnect()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opens_inline", [False, True])
async def test_start_and_end_alone_pass_through_what_wraps_the_servers_send(
    kind: Kind, opens_inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, seen = PondSetup(), list[str]()

    def find_send(scope: Any, send: Any) -> ServerSend:
        async def whole(message: Any) -> None:
            seen.append(message["type"])
            if not opens_inline:
                await anyio.lowlevel.checkpoint()
            await send(message)

        return ServerSend(send, whole, True, opens_inline)

    monkeypatch.setattr(setup.app._shared, "find_send", find_send)
    async with members(setup, kind, "ann") as (ann,):
        await turns()
        await setup.tell(1, 2)
        assert ann.numbers() == [1, 2]  # by the caller
        ann.stall()
        await setup.tell(3, 4)
        ann.resume()
        await turns()  # by the writer
        await setup.pond.disconnect(user_id="ann")
        await ann.ended.wait()
        assert ann.numbers() == [1, 2, 3, 4]
        assert ann.is_closed
    assert (
        seen
        == {
            "websocket": ["websocket.accept", "websocket.close"],
            "sse": ["http.response.start", "http.response.body"],
        }[kind]
    )


def test_a_callback_of_a_plain_loop_may_find_a_peer_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`anyio.run` says which library is running also where no task does; servers do not."""
    monkeypatch.setattr(ASGIConnection, "is_trusted", True)

    async def main() -> None:
        setup = PondSetup(outbox_frames=4)
        async with members(setup, "websocket", "ann", "bob") as (ann, bob):
            ann.stall()
            channel = setup.pond.channel("/socket", "/room/1")
            await channel.broadcast("tick", {"n": 1})
            await channel.broadcast("tick", {"n": 2})
            await turns(5)  # the turn has ended, and a caller waits
            assert connection_of(setup, "ann")._writer.is_writing
            for number in range(3, 9):
                await channel.broadcast("tick", {"n": number})
            await turns(5)  # and now is too slow
            assert await setup.users() == 1
            ann.resume()
            await ann.ended.wait()
            assert ann.goodbyes() == [4408]
            threads = [channel.broadcast_nowait] * 2
            for number, call in enumerate(threads, 9):
                await asyncio.to_thread(call, "tick", {"n": number})
            await turns(5)
            assert bob.numbers() == [*range(1, 11)]

    asyncio.run(main())
