"""Peers that stop reading, are cut off or go without a word: on every server nothing of them stays.

The outboxes here hold more than any test sends, so that a peer shows only by a hanging `send`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Final

import pytest

from tests.integration.clients import TRANSPORTS, Message, Transport, until
from tests.integration.raw_clients import RawClient, RawConnector, connecting
from tests.integration.server_state import (
    ask,
    kernel_bytes,
    see_end,
    see_freed,
    see_nothing_left,
    watch,
)
from tests.servers import SINGLES, Server, Setup

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]

APP: Final = "tests.integration.stall_app:app"
ROOM: Final = "/room/1"
WRITE_TIMEOUT: Final = 2.0
OPTIONS: Final = {"write_timeout": WRITE_TIMEOUT, "outbox_bytes": 100_000_000}
ENVIRONMENT: Final = {"POND_OPTIONS": json.dumps(OPTIONS)}
SETUPS: Final = tuple(
    setup
    for setup in SINGLES
    if setup.name
    in {
        "uvicorn-uvloop-fastlane",
        "uvicorn-uvloop-websockets-sansio",
        "uvicorn-asyncio-wsproto",
        "hypercorn-asyncio-1",
        "hypercorn-trio-0",
        "granian-asyncio-1",
    }
)
FORWARDED: Final = "X-Forwarded-For: 192.0.2.7"
ONE_OF_EACH: Final = tuple(
    setup
    for setup in SETUPS
    if setup.name
    in {"uvicorn-uvloop-websockets-sansio", "hypercorn-asyncio-1", "granian-asyncio-1"}
)
RECEIVE_BUFFER: Final = 8_192
SIZE: Final = 60_000
# Messages of which no kernel takes all: by default it holds 4 MB of them for a connection.
MUCH: Final = (kernel_bytes() + 1_000_000) // SIZE
SIP: Final = 1_000_000
# After which the kernel drops a peer that was given up and takes nothing.
HURRY_SECONDS: Final = 5.0
# The moment that it takes, on a machine with many other things to do.
SOON: Final = 5.0


@pytest.fixture(scope="module", params=SETUPS, ids=str)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each server in turn, for all tests of this file."""
    setup: Setup = request.param
    with Server(APP, *setup.arguments, server=setup.server, env=ENVIRONMENT) as server:
        yield server


@pytest.fixture
async def connect(server: Server, fresh: Message) -> AsyncIterator[RawConnector]:
    async with connecting(server) as connector:
        yield connector


@pytest.fixture
async def fresh(server: Server) -> Message:
    """How the server was before its first connection."""
    if server not in _fresh:
        _fresh[server] = await watch(server)
        assert _fresh[server]["connections"] == 0
    return _fresh[server]


_fresh: Final[dict[Server, Message]] = {}


async def member(connect: RawConnector, transport: Transport, user: str) -> RawClient:
    return await (await connect(transport, user)).join(ROOM)


async def stall(connect: RawConnector, name: str, *headers: str) -> list[RawClient]:
    """Members over both transports, named `websocket-…` and `sse-…`, who read no more."""
    clients = []
    for transport in TRANSPORTS:
        client = await connect(transport, f"{transport}-{name}", RECEIVE_BUFFER, headers)
        clients.append(await client.join(ROOM))
        client.stall()
    return clients


async def fill(driver: RawClient) -> None:
    """Broadcast more than the kernel holds for a client, as fast as the driver hears it."""
    for number in range(1, MUCH + 1):
        await driver.send("BROADCAST", ROOM, "say", {"n": number, "size": SIZE})
        assert (await driver.receive("said"))["payload"]["n"] == number


async def resume_when_given_up(
    server: Server, client: RawClient, most_bytes: int | None = None
) -> None:
    """Read again in the second for which the server waits for that."""

    async def is_given_up() -> bool:
        return f"A slow consumer is closed (user={client.user!r})" in server.log()

    await until(is_given_up, f"the hanging write to {client.user} was noticed")
    client.resume(most_bytes)


async def test_a_send_that_hangs_ends_the_connection_as_slow(connect: RawConnector) -> None:
    server = connect.server
    driver = await member(connect, "websocket", "driver")
    # uvicorn believes the header, and says nothing any more of where the connection comes from.
    stuck = await stall(connect, "stuck") + await stall(connect, "proxied", FORWARDED)
    late = await stall(connect, "late")
    await fill(driver)
    # No client's reading waits for a client's writing, not even for its own.
    for client in stuck:
        await client.send("BROADCAST", ROOM, "say", {"from": client.user})
    heard = [(await driver.receive("said"))["payload"]["from"] for _ in stuck]
    assert sorted(heard) == sorted(client.user for client in stuck)

    await asyncio.gather(*(resume_when_given_up(server, client) for client in late))
    for client in late:
        # What the server had written before is still read, and then why it ends.
        assert (await client.receive("GOODBYE"))["payload"]["code"] == 4408
        await client.wait_ended(SOON)
        assert client.close_code == (4408 if client.transport == "websocket" else None)
        assert client.is_complete == (client.transport == "sse")
    for client in stuck:
        await see_freed(server, client, 1.0 + SOON)
    for client in stuck + late:
        assert await see_end(server, client.user) == "SLOW_CONSUMER"
    assert (await watch(server))["users"] == {ROOM: 1}
    assert "Traceback" not in server.log()


async def test_a_peer_that_reads_a_little_and_stops_again_is_freed() -> None:
    # Enough for the goodbye to be written, and not enough for it ever to arrive.
    async def see(setup: Setup) -> None:
        server = Server(APP, *setup.arguments, server=setup.server, env=ENVIRONMENT)
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, server)
            connect = await stack.enter_async_context(connecting(server))
            driver = await member(connect, "websocket", "driver")
            sipping = await stall(connect, "sipping")
            await fill(driver)
            await asyncio.gather(*(resume_when_given_up(server, each, SIP) for each in sipping))
            for client in sipping:
                assert await see_end(server, client.user) == "SLOW_CONSUMER"
                # On a busy machine the stall was long, and the kernel looks at the limit when its
                # next probe is due, which it has put off further each time.
                await see_freed(server, client, HURRY_SECONDS + 3 * SOON)
                assert not any(message["event"] == "GOODBYE" for message in client.messages)

    await asyncio.gather(*(see(setup) for setup in ONE_OF_EACH))


async def stall_some(connect: RawConnector) -> tuple[RawClient, list[RawClient]]:
    """Return a member that fills the others' connections, and these: idle ones and stalled ones."""
    driver = await member(connect, "websocket", "driver")
    idle = [await member(connect, transport, transport) for transport in TRANSPORTS]
    stuck = await stall(connect, "stuck")
    await fill(driver)
    return driver, [*idle, *stuck]


async def test_a_cancelled_call_leaves_nothing_though_its_peer_reads_no_more(
    connect: RawConnector, fresh: Message
) -> None:
    server = connect.server
    driver, others = await stall_some(connect)
    for client in others:
        await ask(server, f"/cancel?user={client.user}")
    for client in others:
        await see_freed(server, client, SOON)
    driver.finish()
    await see_nothing_left(server, fresh)


ENDS: Final[dict[str, Callable[[RawClient], None]]] = {
    "a closed connection": RawClient.finish,
    "a reset": RawClient.reset,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_the_end_of_a_peer_is_noticed_at_once(
    connect: RawConnector, fresh: Message, end: Callable[[RawClient], None]
) -> None:
    server = connect.server
    # Of the others some go while they are written to, as when a process is killed.
    driver, others = await stall_some(connect)
    for client in [*others, driver]:
        end(client)
    for client in [*others, driver]:
        await see_freed(server, client, SOON)
    await see_nothing_left(server, fresh)
    assert "Traceback" not in server.log()


async def test_a_stalled_peer_that_names_anothers_address_has_only_itself_reset() -> None:
    # A server that trusts every peer's headers about its address believes even this.
    trusting = ("--forwarded-allow-ips", "*")
    with Server(APP, *ONE_OF_EACH[0].arguments, *trusting, env=ENVIRONMENT) as server:
        async with connecting(server) as connect:
            driver = await member(connect, "websocket", "driver")
            host, port = driver.address
            liars = await stall(connect, "liar", f"X-Forwarded-For: {host}:{port}")
            await fill(driver)
            for client in liars:
                assert await see_end(server, client.user) == "SLOW_CONSUMER"
                await see_freed(server, client, 1.0 + SOON)
            await driver.send("BROADCAST", ROOM, "say", {"n": 0})
            assert (await driver.receive("said"))["payload"]["n"] == 0
