"""Routers, classes, `use`, `on_error` and the application's lifespan, on real servers."""

import re
import signal

import pytest

from tests.integration.clients import until
from tests.integration.connector import Connector
from tests.servers import FAST_LANE, HYPERCORNS, UVICORNS, Serve, Server, Setup

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

APP = "tests.integration.structure_app"
SETUPS = (UVICORNS[0], UVICORNS[4], *(each for each in HYPERCORNS if each.name.endswith("trio-1")))


def notes(server: Server) -> list[str]:
    return re.findall(r"<(.*?)>\s", server.log())


async def use(connect: Connector, url: str) -> None:
    """Ask the parts of the app over both transports, and leave both connections open."""
    for client in (await connect.websocket(url), await connect.sse(url)):
        await client.join("/shop/3/orders")
        answer = await client.call("/shop/3/orders", "order")
        assert answer["payload"] == {"result": "3 from database"}
        await client.join("/board/news")
        answer = await client.call("/board/news", "write", {"text": "hi"})
        assert answer["payload"] == {"on": "news", "text": "hi"}
        answer = await client.call("GATEWAY", "fail")
        assert (answer["event"], answer["payload"]["code"]) == ("INTERNAL_SERVER_ERROR", 500)


EVENTS = ["event order", "event write", "event fail", "event fail: wanted"]


@pytest.mark.parametrize("setup", SETUPS, ids=str)
async def test_the_lifespan_is_opened_by_the_server_and_closed_after_the_last_connection(
    connect: Connector, serve: Serve, setup: Setup
) -> None:
    server = serve(f"{APP}:app", *setup.arguments, server=setup.server)

    async def is_open() -> bool:
        return notes(server) == ["opened"]

    await until(is_open, "the lifespan is open")  # hypercorn listens before that
    await use(connect, f"{server.http_url}/socket")

    async def is_reported() -> bool:
        return notes(server).count("event fail: wanted") == 2

    await until(is_reported, "both errors are reported")
    server.signal(signal.SIGTERM)
    server.wait_exit(20)
    seen = notes(server)
    assert sorted(seen[1:-3]) == sorted(EVENTS * 2)
    assert seen[-3:] == ["left with database", "left with database", "closed"]
    assert seen.count("opened") == 1


@pytest.mark.parametrize("setup", SETUPS, ids=str)
async def test_mounted_without_a_lifespan_the_first_client_opens_it(
    connect: Connector, serve: Serve, setup: Setup
) -> None:
    server = serve(f"{APP}:mounted", *setup.arguments, server=setup.server)
    assert notes(server) == []
    await use(connect, f"{server.http_url}/ws/socket")
    server.signal(signal.SIGTERM)
    server.wait_exit(20)
    seen = notes(server)
    assert (seen[0], seen.count("opened")) == ("opened", 1)
    assert seen.count("left with database") == 2


async def test_the_server_does_not_start_where_the_lifespan_fails(serve: Serve) -> None:
    with pytest.raises(RuntimeError, match="no database"):
        serve(f"{APP}_failing:app", *FAST_LANE)
