"""A server is told to end while there are connections: none is cut off, and none holds it up."""

import signal
from pathlib import Path

import httpx
import pytest
from pondsocket_common import SSEDecoder

from tests.integration.clients import until
from tests.integration.connector import Connector, Refused
from tests.integration.draining_clients import Crowd, check, exit_seconds, refusals
from tests.servers import GRANIANS, GUNICORNS, HYPERCORNS, UVICORNS, Serve, Server, Setup

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]

APP = "tests.integration.deploy_app:app"

UVICORN_WORKERS = Setup("uvicorn-2-workers", "uvicorn", ("--workers", "2"))
UVICORN_RELOAD = Setup("uvicorn-reload", "uvicorn", ("--reload", "--reload-dir", "docs"))
GRANIAN_2 = Setup("granian-asyncio-2", "granian", ("--loop", "asyncio", "--workers", "2"))
HYPERCORN_WORKERS = tuple(
    Setup(f"hypercorn-{loop}-2", "hypercorn", ("--worker-class", loop, "--workers", "2"))
    for loop in ("asyncio", "trio")
)
# Of those that hold the signal themselves, one for each way to do so.
HOLDING = (
    Setup("uvicorn", "uvicorn"),
    *(setup for setup in HYPERCORNS if setup.name == "hypercorn-trio-0"),
    *GRANIANS[:1],
)


async def small_crowd(serve: Serve, connect: Connector, setup: Setup) -> tuple[Server, Crowd]:
    server = serve(APP, *setup.arguments, server=setup.server)
    return server, await Crowd.gather(connect, server, each=1)


async def end_in_order(
    serve: Serve, connect: Connector, setup: Setup, *, group: bool = False
) -> None:
    """End a server with a crowd, and expect all to be told, and nothing in the log."""
    server = serve(APP, *setup.arguments, server=setup.server)
    crowd = await Crowd.gather(connect, server)
    crowd.signal(signal.SIGTERM, group=group)
    check(await crowd.depart())
    await crowd.exit()
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    "setup",
    [
        *UVICORNS,
        *HYPERCORNS,
        *GRANIANS,
        *GUNICORNS,
        UVICORN_WORKERS,
        UVICORN_RELOAD,
        *HYPERCORN_WORKERS,
    ],
    ids=str,
)
async def test_every_client_is_told_and_the_process_ends_with_the_last_one(
    serve: Serve, connect: Connector, setup: Setup
) -> None:
    await end_in_order(serve, connect, setup)


@pytest.mark.parametrize(
    "setup",
    [UVICORN_WORKERS, *GUNICORNS, GRANIAN_2, *HYPERCORN_WORKERS],
    ids=str,
)
async def test_a_signal_to_all_processes_at_once_is_as_good(
    serve: Serve, connect: Connector, setup: Setup
) -> None:
    # As systemd sends it. Parents pass it on as well, and workers of hypercorn would die of it.
    await end_in_order(serve, connect, setup, group=True)


@pytest.mark.parametrize("setup", HOLDING, ids=str)
async def test_newcomers_are_refused_during_the_drain_and_a_second_signal_changes_nothing(
    serve: Serve, connect: Connector, setup: Setup
) -> None:
    server, crowd = await small_crowd(serve, connect, setup)
    await crowd.linger(1)
    crowd.signal(signal.SIGTERM)
    departures = await crowd.depart()
    crowd.signal(signal.SIGTERM)
    websocket, stream = await refusals(connect, f"{server.http_url}/socket")
    assert websocket.status == 503
    assert int(websocket.headers["retry-after"]) >= 1
    # At any other status a browser would give up for good.
    assert stream.status == 200
    (event,) = SSEDecoder().feed(stream.body)
    assert event.event == "GOODBYE"
    assert event.retry is not None
    assert event.retry >= 6_000
    check(departures)
    await crowd.exit(1 + exit_seconds())


async def test_the_closes_are_spread_over_the_window_as_announced(
    serve: Serve, connect: Connector
) -> None:
    crowd = await Crowd.gather(connect, serve(APP), each=30)
    crowd.signal(signal.SIGTERM)
    departures = await crowd.depart()
    check(departures)
    late = [each.closed_at - each.goodbye["afterMs"] / 1_000 for each in departures]
    assert min(late) > -0.05
    assert max(late) < 3  # a busy machine
    announced = [each.goodbye["afterMs"] for each in departures]
    assert max(announced) - min(announced) > 400  # of 600
    await crowd.exit()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
async def test_a_second_interrupt_ends_uvicorn_at_once(
    serve: Serve, connect: Connector, first: signal.Signals
) -> None:
    crowd = await Crowd.gather(connect, serve(APP), each=1)
    await crowd.linger(30)
    crowd.signal(first)
    await crowd.depart()
    crowd.signal(signal.SIGINT)
    await crowd.exit()


@pytest.mark.parametrize("setup", HOLDING, ids=str)
async def test_without_connections_the_server_ends_as_it_always_did(
    serve: Serve, connect: Connector, setup: Setup
) -> None:
    _, crowd = await small_crowd(serve, connect, setup)
    for client in crowd.clients:
        await client.close()
    crowd.signal(signal.SIGTERM)
    await crowd.exit()


async def test_a_reload_with_two_streams_takes_well_under_a_second(
    serve: Serve, connect: Connector, tmp_path: Path
) -> None:
    source = tmp_path / "source.py"
    source.touch()
    server = serve(APP, "--reload", "--reload-dir", str(tmp_path))
    crowd = await Crowd.gather(connect, server, each=1)
    source.write_text("changed = True")
    departures = await crowd.depart()
    check(departures)
    # Beside the drain it is the reloader's wait for further changes.
    told = min(each.told_at for each in departures)
    assert max(each.closed_at for each in departures) - told < 0.7

    async def is_back() -> bool:
        try:
            await connect.sse(f"{server.http_url}/socket")
        except (Refused, httpx.TransportError):
            return False  # the old process has not quite ended: it refuses, or resets what it took
        return True

    await until(is_back, "the new process serves")


async def test_a_window_stays_inside_of_what_hypercorn_allows(
    serve: Serve, connect: Connector
) -> None:
    server = serve(APP, "--graceful-timeout", "1", server="hypercorn")
    crowd = await Crowd.gather(connect, server, each=35)
    crowd.signal(signal.SIGTERM)
    departures = await crowd.depart()
    check(departures)
    # Half a second, instead of 70 hundredths.
    assert max(each.goodbye["afterMs"] for each in departures) <= 500 + 1


async def test_an_app_that_holds_no_signals_leaves_all_to_the_server(
    serve: Serve, connect: Connector
) -> None:
    server = serve("tests.integration.deploy_app:headstrong")
    client = await connect.websocket(f"{server.http_url}/socket")
    crowd = Crowd(server, [client])
    crowd.signal(signal.SIGTERM)
    await client.wait_closed()
    assert client.close_code == 1012
    assert not [each for each in client.unread if each["event"] == "GOODBYE"]
    await crowd.exit()


async def test_streams_are_told_where_the_server_ends_without_a_signal(
    serve: Serve, connect: Connector
) -> None:
    # uvicorn tells no client, and would wait for the streams for ever.
    server = serve(APP, "--limit-max-requests", "1")
    url = f"{server.http_url}/socket"
    crowd = Crowd(server, [await connect.sse(url), await connect.sse(url)])
    assert (await connect.http.get(url)).status_code == 404
    check(await crowd.depart())
    await crowd.exit()
