"""A thousand connections come and go, some are cut off, and nothing of them is left."""

import asyncio
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from random import Random
from typing import Final

import pytest

from tests.integration.clients import TRANSPORTS, Client, Message, Transport, until
from tests.integration.connector import Connector
from tests.integration.killed_clients import COUNT
from tests.servers import ROOT, Serve, Server

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

CROWD: Final = 1000
# Each presence frame goes to every member: if all tracked presence, that were a million frames.
SHOWN: Final = 20
AT_A_TIME: Final = 50
# The crowd is this process's, and the server has as many; both have a few files of their own.
OPEN_FILES: Final = 2 * CROWD + 200


@pytest.fixture
def server(serve: Serve) -> Iterator[Server]:
    """Yield a server of one's own, which may open enough files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY in (soft, hard)
    if not unlimited and soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    yield serve("tests.integration.app:app", "--log-level", "warning")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# What a loop makes the first time that it has a connection, or must reset one, and keeps.
ONCE: Final = ("Heartbeat", "_Desk", "_Scan")
# Messages that no loopback socket's buffers hold: tens of MiB, where a kernel takes about four.
MUCH: Final = 1000


class Watch:
    """What the server says of itself, beside what it said at first."""

    def __init__(self, connect: Connector, server: Server) -> None:
        self._connect = connect
        self._url = f"{server.http_url}/state"
        self._before: Message = {}
        self.now: Message = {}

    async def begin(self) -> None:
        """Remember the state without any client."""
        await self.look()
        self._before = self.now
        assert self.now["connections"] == 0
        assert not self.now["rooms"]

    async def look(self) -> Message:
        """How it is now."""
        self.now = (await self._connect.http.get(self._url)).json()
        for name in ONCE:
            self.now["objects"].pop(name, None)
        return self.now

    async def expect_nothing_left(self) -> None:
        """Wait until it is as it was."""
        watched = ("connections", "rooms", "tasks", "objects")

        async def as_before() -> bool:
            await self.look()
            return all(self.now[name] == self._before[name] for name in watched)

        try:
            await until(as_before, "nothing left")
        except AssertionError:
            pytest.fail(f"left over: {self.now}, where at first there was {self._before}")


@pytest.fixture
async def watch(connect: Connector, server: Server) -> Watch:
    watch = Watch(connect, server)
    await watch.begin()
    return watch


async def together(calls: list[Callable[[], Awaitable[object]]]) -> None:
    """Run all of these, and no more than a few at any time."""
    few = asyncio.Semaphore(AT_A_TIME)

    async def run(call: Callable[[], Awaitable[object]]) -> None:
        async with few:
            await call()

    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(run(call))


async def test_a_thousand_come_and_go_and_nothing_is_left(
    connect: Connector, server: Server, watch: Watch, room: str
) -> None:
    random = Random(1)
    clients: list[Client] = []

    async def come(number: int) -> None:
        client = await connect(TRANSPORTS[number % 2], f"{server.http_url}/socket")
        params = {"show": {"number": number}} if number < SHOWN else {}
        assert (await client.join(room, params))["event"] == "ACKNOWLEDGE"
        clients.append(client)

    numbers = random.sample(range(CROWD), CROWD)
    await together([partial(come, number) for number in numbers])
    here = await watch.look()
    assert here["connections"] == CROWD
    assert here["rooms"][room]["users"] == CROWD
    assert len(here["rooms"][room]["presence"]) == SHOWN
    assert here["objects"]["Member"] == here["objects"]["Session"] == CROWD
    assert here["tasks"] > CROWD

    await clients[0].send("BROADCAST", room, "say", {"text": "hi"})
    for client in clients:
        await client.receive_event("BROADCAST", "said")

    ways: list[Callable[[Client], Awaitable[object]]] = [
        lambda client: client.leave(room),
        lambda client: client.close(),
        lambda client: client.abort(reset=True),
        lambda client: client.abort(reset=False),
    ]
    taken = [random.randrange(len(ways)) for _ in clients]
    random.shuffle(clients)
    goings = list(zip(clients, taken, strict=True))
    await together([partial(ways[way], client) for client, way in goings])
    stayed = [client for client, way in goings if way == 0]

    async def only_leavers_connected() -> bool:
        return bool((await watch.look())["connections"] == len(stayed))

    await until(only_leavers_connected, "the others' connections ended")
    assert not watch.now["rooms"]
    assert "Channel" not in watch.now["objects"]
    assert watch.now["departures"] == {
        "explicit_leave": len(stayed),
        "connection_closed": CROWD - len(stayed),
    }
    await together([client.close for client in stayed])
    await watch.expect_nothing_left()
    assert "Traceback" not in server.log()


async def test_clients_that_vanish_while_they_join_leave_nothing(
    connect: Connector, server: Server, watch: Watch, room: str
) -> None:
    async def hurry(number: int) -> None:
        client = await connect(TRANSPORTS[number % 2], f"{server.http_url}/socket")
        how = ["late", "slow", "none"][number % 3]
        await client.send("JOIN_CHANNEL", room, "join", {"how": how, "show": {"number": number}})
        await client.abort(reset=number % 4 < 2)

    await together([partial(hurry, number) for number in range(60)])
    await watch.expect_nothing_left()
    assert "Traceback" not in server.log()


async def test_rejoining_and_leaving_at_once_leaves_one_channel_and_then_none(
    connect: Connector, server: Server, watch: Watch, room: str
) -> None:
    async def dance(client: Client) -> None:
        for _ in range(10):
            await client.send("JOIN_CHANNEL", room, "join", {"show": {}})
            await client.leave(room)
        assert (await client.join(room))["event"] == "ACKNOWLEDGE"

    clients = [
        await connect(transport, f"{server.http_url}/socket") for transport in TRANSPORTS * 5
    ]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(dance(client))
    here = await watch.look()
    assert here["rooms"] == {room: {"users": len(clients), "presence": {}}}
    assert here["objects"]["Channel"] == 1
    assert here["objects"]["Member"] == len(clients)
    await together([client.close for client in clients])
    await watch.expect_nothing_left()


@pytest.fixture
def visitors(server: Server, room: str) -> Iterator[subprocess.Popen[bytes]]:
    """Clients in a process of their own, about to join."""
    command = [
        sys.executable,
        "-m",
        "tests.integration.killed_clients",
        f"{server.http_url}/socket",
        room,
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


async def test_a_killed_client_process_leaves_nothing(
    server: Server, watch: Watch, visitors: subprocess.Popen[bytes], room: str
) -> None:
    assert visitors.stdout is not None
    assert await asyncio.to_thread(visitors.stdout.readline) == b"joined\n"
    assert (await watch.look())["rooms"][room]["users"] == COUNT
    visitors.kill()
    await watch.expect_nothing_left()
    assert watch.now["departures"] == {"connection_closed": COUNT}
    assert "Traceback" not in server.log()


async def test_a_stalled_reader_is_dropped_and_the_others_hear_everything(
    connect: Connector, server: Server, watch: Watch, transport: Transport, room: str
) -> None:
    clients = [
        await connect(each, f"{server.http_url}/socket") for each in (transport, *TRANSPORTS)
    ]
    for client in clients:
        await client.join(room, {"show": {}})
    stalled, ann, bob = clients
    await stalled.stall()
    sent = 0
    while (await watch.look())["rooms"][room]["users"] == len(clients):
        assert sent < MUCH
        for _ in range(10):
            sent += 1
            await ann.send("BROADCAST", room, "say", {"n": sent, "text": "x" * 60_000})
            for hearer in (ann, bob):
                assert (await hearer.receive_event("BROADCAST", "said"))["payload"]["n"] == sent
    for hearer in (ann, bob):
        assert len((await hearer.receive_event("PRESENCE", "LEAVE"))["payload"]["presence"]) == 2
        await hearer.close()
    await watch.expect_nothing_left()
