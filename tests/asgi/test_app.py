"""Which scope goes where."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from pondsocket import ConnectionContext, History, JoinContext, Options, PondSocket, UsageError
from pondsocket._history.memory import MemoryStore
from pondsocket.testing import FakeClock
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi.asgi_connections import ASGIConnection, PondSetup
from tests.asgi.conftest import Pond


async def test_an_unknown_scope_type_is_a_clear_error(pond: Pond) -> None:
    async def unused(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="not 'http3'"):
        await pond.app({"type": "http3"}, unused, unused)


async def test_all_three_scopes_are_served_by_one_app(pond: Pond) -> None:
    lifespan = await pond.driver.open_lifespan()
    await lifespan.startup()
    socket = await pond.driver.connect_websocket("/socket")
    stream = await pond.driver.connect_sse("/socket")
    assert (socket.status, stream.status) == (101, 200)
    assert len({socket.connection_id, stream.connection_id}) == 2
    await stream.disconnect()
    await socket.disconnect()
    await lifespan.shutdown()


def test_connections_in_several_event_loops_do_not_share_a_clock() -> None:
    """Test clients run each WebSocket in a thread and a loop of its own."""
    setup = PondSetup(heartbeat_seconds=0.04)

    async def told(connection: ASGIConnection, event: str) -> None:
        with anyio.fail_after(5):
            while event not in connection.events():
                await anyio.lowlevel.checkpoint()

    with start_blocking_portal() as later:
        with start_blocking_portal() as sooner:
            first = sooner.call(ASGIConnection, setup, "websocket", "ann")
            second = later.call(ASGIConnection, setup, "websocket", "bob")
            ended = sooner.start_task_soon(first.run)
            sooner.call(told, first, "CONNECTION")
            lasting = later.start_task_soon(second.run)
            later.call(told, second, "CONNECTION")
            sooner.call(first.leave)
            ended.result(5)
        second.sent.clear()
        later.call(told, second, "PONG")
        later.call(second.leave)
        lasting.result(5)


@pytest.mark.parametrize("drain_on_signals", [True, False])
async def test_old_histories_end_while_a_single_connection_is_quiet(drain_on_signals: bool) -> None:
    clock = FakeClock()
    pond = PondSocket(options=Options(write_timeout=0.04), clock=clock)

    async def accept(ctx: ConnectionContext) -> None:
        ctx.accept()

    async def refuse(ctx: JoinContext) -> None:
        await ctx.decline()

    endpoint = pond.create_endpoint("/socket", accept)
    lobby = endpoint.create_channel("/room/:id", refuse, history=History())
    assert isinstance(lobby.history_store, MemoryStore)
    driver = ASGITestDriver(PondASGIApp(pond, drain_on_signals=drain_on_signals))
    quiet = await driver.connect_websocket("/socket")
    for number in range(3):
        await pond.channel("/socket", f"/room/{number}").broadcast("news", {})
    assert len(lobby.history_store) == 3
    clock.advance(90_000)  # more than a day
    with anyio.fail_after(5):
        while len(lobby.history_store):
            await anyio.lowlevel.checkpoint()
    await quiet.disconnect()


@pytest.mark.parametrize("make_host", [Starlette, FastAPI])
async def test_a_path_outside_of_the_mount_is_refused_by_the_host_without_a_word(
    make_host: Callable[..., Any], pond: Pond
) -> None:
    driver = ASGITestDriver(make_host(routes=[Mount("/ws", pond.app)]))
    with_body = {"websocket.http.response": dict[str, Any]()}
    lost = await driver.connect_websocket("/socket", extensions=with_body)
    # docs/troubleshooting.md tells it from the 404 of a pond by this.
    assert (lost.accepted, lost.status, lost.body) == (False, 403, b"")
    told = await driver.connect_websocket("/ws/nowhere", extensions=with_body)
    assert (told.accepted, told.status) == (False, 404)
    assert b"Endpoint not found: /nowhere" in told.body


async def test_what_is_no_pond_is_not_served() -> None:
    pond = Pond()
    for wrong in (pond.endpoint, pond.lobby, pond.app, None):
        with pytest.raises(UsageError, match="PondASGIApp serves a PondSocket"):
            PondASGIApp(wrong)  # type: ignore[arg-type]


async def test_a_pond_in_place_of_its_app_says_what_to_write() -> None:
    pond = Pond().pond
    hosts: list[Any] = [pond, Starlette(routes=[Mount("/ws", app=pond)])]
    for host, path in zip(hosts, ("/socket", "/ws/socket"), strict=True):
        with pytest.raises(UsageError, match=r"write `app = PondASGIApp\(pond\)`"):
            await ASGITestDriver(host).connect_websocket(path)
    # At once, however it is called: servers try a factory first, and take it for ASGI 2.
    calls: list[tuple[Any, ...]] = [(), ({},)]
    for arguments in calls:
        with pytest.raises(UsageError, match="PondASGIApp"):
            pond(*arguments)


@pytest.mark.parametrize("is_factory", [False, True])
def test_uvicorn_with_the_pond_itself_ends_at_what_to_write(is_factory: bool) -> None:
    config = uvicorn.Config(PondSocket(), factory=is_factory, log_config=None)
    with pytest.raises(UsageError, match=r"write `app = PondASGIApp\(pond\)`"):
        config.load()
