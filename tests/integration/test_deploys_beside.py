"""Deploys of an app that is not alone: in other frameworks, threads and middlewares."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from pondsocket_asgi import PondASGIApp

from tests.integration.clients import WebSocketClient
from tests.integration.connector import Connector
from tests.integration.deploy_app import make_pond
from tests.integration.draining_clients import Crowd, check, exit_seconds
from tests.servers import Serve, accepts, comes_true, free_port

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]

BESIDE = "tests.integration.deploy_beside_app:beside"
HIDDEN = "tests.integration.deploy_beside_app:hidden"


async def test_two_apps_of_a_host_drain_together_and_others_streams_are_not_kept_waiting(
    serve: Serve, connect: Connector
) -> None:
    server = serve(BESIDE)
    first = await Crowd.gather(connect, server, "/first/socket", each=1)
    second = await Crowd.gather(connect, server, "/second/socket", each=1)
    crowd = Crowd(server, first.clients + second.clients)
    assert (await connect.http.get(f"{server.http_url}/ready")).status_code == 200
    await crowd.linger(1)
    ended: list[str] = []
    async with connect.http.stream("GET", f"{server.http_url}/stream") as foreign:
        lines = foreign.aiter_lines()
        assert await anext(lines) == ": begun"
        crowd.signal(signal.SIGTERM)
        ended = [line async for line in lines if line]
    assert ended == ["data: ended"]
    assert (await connect.http.get(f"{server.http_url}/ready")).status_code == 503
    check(await crowd.depart())
    await crowd.exit(1 + exit_seconds())


async def test_streams_that_a_middleware_hides_from_hypercorns_worker_are_cut_off_untold(
    serve: Serve, connect: Connector
) -> None:
    # The worker gets no signal, and its calls, by which its end is noticed, are not to be seen in
    # another task. What helps is `--workers 0`; docs/deployment.md says so.
    server = serve(HIDDEN, "--graceful-timeout", "1", server="hypercorn")
    client = await connect.sse(f"{server.http_url}/socket")
    crowd = Crowd(server, [client])
    crowd.signal(signal.SIGTERM)
    await client.wait_closed()
    assert not [each for each in client.unread if each["event"] == "GOODBYE"]
    await crowd.exit(3)


@pytest.mark.parametrize("arguments", [("--workers", "0"), ("--workers", "1")], ids=" ".join)
async def test_a_signal_to_hypercorns_worker_itself_is_enough_behind_a_middleware(
    serve: Serve, connect: Connector, arguments: tuple[str, ...]
) -> None:
    server = serve(HIDDEN, *arguments, server="hypercorn")
    crowd = Crowd(server, [await connect.sse(f"{server.http_url}/socket")])
    crowd.signal(signal.SIGTERM, group=True)
    check(await crowd.depart())
    await crowd.exit(3)


@contextmanager
def thread(server: uvicorn.Server) -> Iterator[None]:
    """Run a server in a thread, as test clients and desktop programs do."""
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        running.join(10)


# Not `websockets`: its import warns of its age, and warnings are errors here.
@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
async def test_a_server_in_a_thread_keeps_off_the_signals_and_its_streams_are_told(
    connect: Connector, ws: str
) -> None:
    port, handlers = free_port(), [signal.getsignal(number) for number in signal.valid_signals()]
    config = uvicorn.Config(PondASGIApp(make_pond()), port=port, ws=ws, log_config=None)
    server = uvicorn.Server(config)
    with thread(server):
        assert await asyncio.to_thread(comes_true, lambda: accepts("127.0.0.1", port), 10)
        url = f"http://127.0.0.1:{port}/socket"
        socket, stream = await connect.websocket(url), await connect.sse(url)
        assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers
        server.should_exit = True
        await socket.wait_closed()
        assert isinstance(socket, WebSocketClient)
        assert socket.close_code == 1012  # uvicorn's own
        goodbye = await stream.receive_event("SYSTEM", "GOODBYE")
        assert goodbye["payload"]["code"] == 1012
        await stream.wait_closed()
        assert not stream.is_torn
