"""The server's own `send`, and whether callers may drive it."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pondsocket_asgi._process.servers import HypercornStream
from pondsocket_asgi._scope import Send
from pondsocket_asgi._sending.known_wrappers import Kind
from pondsocket_asgi._sending.server_send import server_send
from pondsocket_asgi._transport import http2
from starlette.middleware.sessions import SessionMiddleware

from tests.asgi.known_middlewares import AROUND
from tests.asgi.test_known_wrappers import KINDS, given_to


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: on trio, no `send` is driven by callers."""
    return "asyncio"


def of_uvicorn() -> Send:
    """Return a `send` that looks like uvicorn's."""

    async def send(message: Any) -> None: ...

    send.__module__ = "uvicorn.protocols.http.h11_impl"
    return send


def sessions(times: int) -> Callable[[Any], Any]:
    """Return what puts an app behind so many middlewares."""

    def around(app: Any) -> Any:
        for _ in range(times):
            app = SessionMiddleware(app, "a secret")
        return app

    return around


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["session", "starlette, many", "fastapi, many", "litestar"])
async def test_a_chain_of_known_wrappers_ends_at_the_server(name: str, kind: Kind) -> None:
    own = of_uvicorn()
    whole = await given_to(AROUND[name], kind, own)
    found = server_send(whole, kind)
    assert (found.send, found.whole) == (own, whole)
    assert (found.is_inline, found.opens_inline) == (True, True)
    assert found.stopped_by is None


async def test_a_store_may_wait_when_a_response_starts_so_a_task_opens_it() -> None:
    for kind in KINDS:
        own = of_uvicorn()
        found = server_send(await given_to(AROUND["litestar, session"], kind, own), kind)
        assert (found.send, found.is_inline, found.opens_inline) == (
            own, True, kind == "websocket",
        )  # fmt: skip


async def test_a_foreign_wrapper_in_the_chain_stops_it() -> None:
    def foreign(app: Any) -> Any:
        async def host(scope: Any, receive: Any, send: Any) -> None:
            async def counting(message: Any) -> None:
                await send(message)

            await app(scope, receive, counting)

        return host

    outside = server_send(
        await given_to(lambda app: foreign(sessions(1)(app)), "websocket", of_uvicorn()),
        "websocket",
    )
    inside = server_send(
        await given_to(lambda app: sessions(1)(foreign(app)), "websocket", of_uvicorn()),
        "websocket",
    )
    for found in (outside, inside):
        assert not found.is_inline
        assert not found.opens_inline
        assert found.send is found.stopped_by
        assert "counting" in repr(found.stopped_by)


async def test_a_chain_without_an_end_is_not_followed() -> None:
    assert server_send(await given_to(sessions(20), "http", of_uvicorn()), "http").is_inline
    assert not server_send(await given_to(sessions(40), "http", of_uvicorn()), "http").is_inline


async def test_what_waits_for_clients_of_http2_is_not_driven_by_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stream:
        async def drain(self) -> None: ...

    monkeypatch.setattr(HypercornStream, "find", Stream)
    monkeypatch.setitem(sys.modules, "hypercorn", http2)
    waiting = http2.waiting_send({"http_version": "2"}, of_uvicorn())
    assert "send_and_drain" in repr(waiting)
    assert not server_send(waiting, "http").is_inline


async def test_what_a_partial_makes_of_a_servers_is_not_the_servers() -> None:
    assert not server_send(partial(of_uvicorn()), "http").is_inline
