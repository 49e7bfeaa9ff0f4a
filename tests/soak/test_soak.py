"""Five hundred members for a minute, most of them unruly: the others must not notice.

Beside them are clients that do one thing for all the time: they ping, show themselves, or make new
names.

Longer with `SOAK_SECONDS`, otherwise with `SOAK_SEED` (`nox -s soak`).
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

import pytest

from tests.integration.clients import TRANSPORTS, Client, Message, SSEClient, WebSocketClient
from tests.integration.connector import Connector
from tests.integration.server_state import resident_bytes, see_nothing_left, watch
from tests.servers import Serve, Server

SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "60"))
SEED: Final = int(os.environ.get("SOAK_SEED", "1"))

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 240)]

ROOMS: Final = 20
HEALTHY: Final = 8
UNRULY: Final = 17
# Of each kind that does one thing.
SINGLE_MINDED: Final = 8
# So many pings at once, as frames and as messages.
PINGS: Final = 20
PING_PAUSE_SECONDS: Final = 0.5
SHOWN_BYTES: Final = 3_000
SHOW_PAUSE_SECONDS: Final = 0.3
# Two clients show themselves to each other.
SHOWS: Final = SINGLE_MINDED // 2
# More new histories a minute than one connection may begin: then it comes again.
NAME_PAUSE_SECONDS: Final = 0.2
KEPT_BYTES: Final = 4_000
MEMBERS: Final = ROOMS * (HEALTHY + UNRULY)
# So much is said in this room that a client that stops reading fills what the system holds, some
# 4 MB, with 90 messages, and then its outbox.
LOUD: Final = "/room/0"
LOUD_BYTES: Final = 48_000
LOUD_PAUSE_SECONDS: Final = 0.12
LOUD_STALL_MESSAGES: Final = (110, 210)
# Between two messages of one room, on average.
PAUSE_SECONDS: Final = 0.25
BURST: Final = 20
# What the allocator keeps after a peak is not a leak; what an hour of this would add up to is.
MEMORY_TOLERANCE: Final = 24 * 1024 * 1024
OPTIONS: Final = '{"outbox_bytes": 262144, "write_timeout": 4, "heartbeat_seconds": 5}'


@dataclass
class Room:
    """What was said in one room, and who has to have heard it."""

    name: str
    said: int = 0
    speaker: Client | None = None
    hearers: list[Client] = field(default_factory=list)
    is_over: bool = False

    async def say(self) -> None:
        assert self.speaker is not None
        self.said += 1
        size = LOUD_BYTES if self.name == LOUD else 50
        await self.speaker.send("BROADCAST", self.name, "say", {"n": self.said, "size": size})

    async def speak(self, random: Random) -> None:
        """Say something now and then, and sometimes a lot at once."""
        pause = LOUD_PAUSE_SECONDS if self.name == LOUD else PAUSE_SECONDS
        while not self.is_over:
            await asyncio.sleep(random.expovariate(1 / pause))
            is_burst = random.random() < 0.02 and self.name != LOUD
            for _ in range(BURST if is_burst else 1):
                await self.say()

    async def listen(self, client: Client) -> None:
        """Everything, once, in order; and nothing that one must never get."""
        expected = 1
        while not (self.is_over and expected > self.said):
            try:
                message = await client.receive()
            except AssertionError as silence:
                heard, ear = f"{expected - 1} of {self.said}", type(client).__name__
                raise AssertionError(f"{self.name}, {ear}, heard {heard}: {silence}") from None
            if message["action"] != "BROADCAST":
                assert message["event"] == "PONG", message
                continue
            assert message["event"] == "said"
            assert message["channelName"] == self.name
            assert message["payload"]["n"] == expected, f"{self.name}: after {expected - 1}"
            expected += 1


class Soak:
    """All of them."""

    def __init__(self, server: Server, connector: Connector) -> None:
        self.random = Random(SEED)
        self.rooms = [Room(f"/room/{number}") for number in range(ROOMS)]
        self.done: dict[str, int] = {}
        self._server = server
        self._connect = connector
        self._numbers = count()
        self._few = asyncio.Semaphore(20)

    async def connect(self) -> Client:
        """Connect a new client, on either transport."""
        number = next(self._numbers)
        url = f"{self._server.http_url}/socket?user=u{number}"
        async with self._few:
            client = await self._connect(TRANSPORTS[number % 2], url)
        if isinstance(client, SSEClient):
            client.speak_alone()
        return client

    async def member(self, room: Room) -> Client:
        client = await self.connect()
        assert (await client.join(room.name))["event"] == "ACKNOWLEDGE"
        return client

    async def misbehave(self, room: Room, until: float) -> None:
        """Come, do something rude or ordinary, go, and come again."""
        ways: dict[str, Callable[[Client], Awaitable[object]]] = {
            "leave and join": lambda client: self._hop(client, room),
            "leave": lambda client: client.leave(room.name),
            "close": lambda client: client.close(),
            "reset": lambda client: client.abort(reset=True),
            "end of file": lambda client: client.abort(reset=False),
            "stall": lambda client: self._stall(client, room),
            "nonsense": self._nonsense,
        }
        while time.monotonic() < until:
            client = await self.member(room)
            try:
                while not client.closed and time.monotonic() < until:
                    await asyncio.sleep(self.random.expovariate(1 / 4.0))
                    client.unread.clear()
                    if self.random.random() < 0.5:
                        continue  # a member like any other, for once
                    # A stalled one takes 4 s and more, so many of them would do nothing else.
                    is_stall = self.random.random() < (0.6 if room.name == LOUD else 0.1)
                    way = "stall" if is_stall else self.random.choice(list(ways))
                    self.done[way] = self.done.get(way, 0) + 1
                    await ways[way](client)
                    if way in ("close", "reset", "end of file", "stall"):
                        break
            finally:
                await self._drop(client)
                self._connect.forget(client)

    @property
    def single_minded(self) -> list[tuple[str, Callable[[Client, int], Awaitable[object]], float]]:
        """What some clients do and nothing else, and how long they wait in between."""
        return [
            ("ping", self.ping, PING_PAUSE_SECONDS),
            ("track", self.track, SHOW_PAUSE_SECONDS),
            ("new name", self.make_a_name, NAME_PAUSE_SECONDS),
        ]

    async def go_on(
        self, way: str, do: Callable[[Client, int], Awaitable[object]], pause: float, until: float
    ) -> None:
        """Do one thing again and again; come again where the server ends the connection."""
        while time.monotonic() < until:
            client = await self.connect()
            try:
                for turn in count():
                    if client.closed or time.monotonic() >= until:
                        break
                    await do(client, turn)
                    self.done[way] = self.done.get(way, 0) + 1
                    await asyncio.sleep(self.random.expovariate(1 / pause))
                    client.unread.clear()
            finally:
                await self._drop(client)
                self._connect.forget(client)

    async def ping(self, client: Client, _turn: int) -> None:
        """Send pings, and care for no answer."""
        if isinstance(client, WebSocketClient):
            for _ in range(PINGS):
                await client.connection.ping()
        for _ in range(PINGS // 4):
            await client.send_raw(b'{"action": "ping"}')

    async def track(self, client: Client, turn: int) -> None:
        """Show something else each time, and at first come into the channel."""
        number = int(client.hello["payload"]["id"].removeprefix("u"))
        name = f"/show/{number % SHOWS}"
        if turn == 0:
            await client.send("JOIN_CHANNEL", name, "join")
        shown = {"turn": turn, "text": "s" * (turn * 100 % SHOWN_BYTES)}
        await client.send("BROADCAST", name, "show", shown)

    async def make_a_name(self, client: Client, turn: int) -> None:
        """Join a channel that never was, say something there, and leave it."""
        name = f"/kept/{client.hello['payload']['id']}-{turn}"
        await client.send("JOIN_CHANNEL", name, "join")
        await client.send("BROADCAST", name, "say", {"n": turn, "size": KEPT_BYTES})
        await client.send("LEAVE_CHANNEL", name, "leave")

    async def _drop(self, client: Client) -> None:
        try:
            await (client.close() if client.closed else client.abort(reset=True))
        except OSError:
            pass  # the server has ended it in this very moment, and its socket is closed
        await client.stop()

    async def _hop(self, client: Client, room: Room) -> None:
        for _ in range(3):
            await client.send("LEAVE_CHANNEL", room.name, "leave")
            await client.send("JOIN_CHANNEL", room.name, "join")

    async def _stall(self, client: Client, room: Room) -> None:
        await client.stall()
        if room.name != LOUD:
            await asyncio.sleep(self.random.uniform(5.0, 10.0))
            return
        # Not for so many seconds: on a busy machine less is said in them.
        enough = room.said + self.random.randint(*LOUD_STALL_MESSAGES)
        while room.said < enough and not room.is_over:  # noqa: ASYNC110 - it is said all the time
            await asyncio.sleep(0.2)

    async def _nonsense(self, client: Client) -> None:
        for text in (b"[", b"{}", b"\xff\xfe", b'{"action": "BROADCAST", "event": ""}'):
            await client.send_raw(text)


async def test_healthy_members_miss_nothing_whatever_the_others_do(
    serve: Serve, connect: Connector
) -> None:
    # Else it hangs up on a client that is about to POST; browsers try again, httpx does not.
    keep_alive = ("--timeout-keep-alive", "75")
    server = serve(
        "tests.soak.soak_app:app",
        *("--log-level", "warning", *keep_alive),
        env={"POND_OPTIONS": OPTIONS},
    )
    soak = Soak(server, connect)
    before = await watch(server)
    await _come_and_go(soak)
    await see_nothing_left(server, before)
    memory = resident_bytes(server.pid)

    started = time.monotonic()
    for room in soak.rooms:
        room.hearers = list(await asyncio.gather(*[soak.member(room) for _ in range(HEALTHY)]))
        room.speaker = await soak.member(room)
    async with asyncio.TaskGroup() as unruly, asyncio.TaskGroup() as healthy:
        listening = [
            healthy.create_task(room.listen(client))
            for room in soak.rooms
            for client in room.hearers
        ]
        speaking = [healthy.create_task(room.speak(soak.random)) for room in soak.rooms]
        until = time.monotonic() + SECONDS
        for room in soak.rooms:
            healthy.create_task(_drop_what_came(room))
            for _ in range(UNRULY):
                unruly.create_task(soak.misbehave(room, until))
        for way, do, pause in soak.single_minded:
            for _ in range(SINGLE_MINDED):
                unruly.create_task(soak.go_on(way, do, pause, until))
        await asyncio.sleep(SECONDS)
        for room in soak.rooms:
            room.is_over = True
        await asyncio.gather(*speaking)
        for room in soak.rooms:
            await room.say()  # wakes the clients that have everything and wait for more
        await asyncio.gather(*listening)

    heard = sum(room.said * HEALTHY for room in soak.rooms)
    slow = (await watch(server))["counts"].get("slow_consumer", 0)
    for room in soak.rooms:
        for client in [*room.hearers, *([room.speaker] if room.speaker else [])]:
            await client.close()
    await see_nothing_left(server, before)
    grown = resident_bytes(server.pid) - memory
    print(
        f"seed {SEED}: {MEMBERS} members for {time.monotonic() - started:.0f} s; {heard} messages"
        f" heard by those who behaved; {soak.done}; {slow} slow consumers closed;"
        f" memory {grown / 1e6:+.1f} MB"
    )
    assert heard > SECONDS * ROOMS * HEALTHY
    assert slow >= 1, "no client was slow enough: this showed nothing"
    assert min(soak.done.get(way, 0) for way in ("stall", "reset", "close", "leave")) > 0
    for way, _, _ in soak.single_minded:
        assert soak.done.get(way, 0) > SECONDS / 4, f"hardly any {way}"
    assert grown < MEMORY_TOLERANCE
    assert "Traceback" not in server.log()


async def _drop_what_came(room: Room) -> None:
    """Drop what the speaker and the unruly clients were sent: it would pile up here."""
    assert room.speaker is not None
    while not room.is_over:
        room.speaker.unread.clear()
        await asyncio.sleep(0.2)


async def _come_and_go(soak: Soak) -> None:
    """As many as there will be, once, so that what the server keeps for good is there."""
    clients = await asyncio.gather(
        *[soak.member(soak.rooms[number % ROOMS]) for number in range(MEMBERS)]
    )
    for room in soak.rooms:
        room.speaker = clients[0]
    answer: Message = await clients[0].call("/room/0", "ask", {"n": 0})
    assert answer["payload"] == {"n": 0}
    for way, do, _ in soak.single_minded:
        for turn in range(3):
            await do(clients[turn % 2], turn)
            soak.done[way] = 0
    await asyncio.gather(*[client.close() for client in clients])
