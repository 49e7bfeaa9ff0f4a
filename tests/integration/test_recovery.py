"""Coming back to a real server: nothing is missed without the client being told."""

import pytest

from tests.integration.clients import Client, SSEClient, Transport
from tests.integration.conftest import Shared
from tests.integration.connector import Connector
from tests.servers import FAST_LANE, Server

ROOM = "/room/1"


@pytest.fixture
def rooms(shared: Shared) -> Server:
    """Return the server of `tests/integration/history_app.py`."""
    return shared("tests.integration.history_app:app", "--log-level", "warning", *FAST_LANE)


class ReturningClient:
    """A client that returns to where it was, in the way of its transport."""

    def __init__(self, connect: Connector, transport: Transport, server: Server, room: str) -> None:
        self._connect = connect
        self._transport = transport
        self._url = f"{server.http_url}/socket?user=ann"
        self.room = room
        self.client: Client
        self.since: dict[str, object] | None = None
        self.cursor = ""

    async def come(self) -> dict[str, object]:
        """Connect and be a member; gives the acknowledgement."""
        again = f"&lastEventId={self.cursor}" if self.cursor else ""
        self.client = await self._connect(self._transport, self._url + again)
        if self.cursor:
            assert self.client.hello["payload"]["resumed"] == [self.room]
        else:
            more = {} if self.since is None else {"since": self.since}
            await self.client.send("JOIN_CHANNEL", self.room, "join", **more)
        answer = await self.client.receive_event("SYSTEM", "ACKNOWLEDGE")
        payload: dict[str, object] = answer["payload"]
        self.since = {"epoch": payload["epoch"], "offset": payload["offset"]}
        return payload

    async def hear(self, count: int) -> list[int]:
        """Return the next numbers that are said."""
        numbers = []
        for _ in range(count):
            message = await self.client.receive_event("BROADCAST", "said")
            self.since = {"epoch": message["epoch"], "offset": message["offset"]}
            numbers.append(message["payload"]["n"])
        return numbers

    async def go(self, *, reset: bool = True) -> None:
        """Be cut off."""
        await self.client.abort(reset=reset)
        if isinstance(self.client, SSEClient):
            self.cursor = self.client.last_event_id


async def speaker(connect: Connector, server: Server, room: str) -> Client:
    client = await connect.websocket(f"{server.http_url}/socket?user=bob")
    await client.join(room)
    return client


async def listener_and_speaker(
    connect: Connector, transport: Transport, server: Server, room: str
) -> tuple[ReturningClient, Client]:
    return ReturningClient(connect, transport, server, room), await speaker(connect, server, room)


async def say(client: Client, room: str, first: int, last: int) -> None:
    """Have the room told the numbers from `first` to `last`."""
    await client.send("BROADCAST", room, "say", {"from": first, "to": last})


async def say_and_hear(client: Client, room: str, first: int, last: int) -> None:
    """Do the same, and wait until the client that asked for it has heard all."""
    await say(client, room, first, last)
    for _ in range(last - first + 1):
        await client.receive_event("BROADCAST", "said")


async def test_a_client_that_was_cut_off_gets_what_it_missed_and_then_what_is_new(
    connect: Connector, rooms: Server, transport: Transport
) -> None:
    ann, bob = await listener_and_speaker(connect, transport, rooms, f"{ROOM}-{transport}")
    assert "recovered" not in await ann.come()
    await say(bob, ann.room, 1, 3)
    assert await ann.hear(3) == [1, 2, 3]
    for first in (4, 104, 204):
        await ann.go()
        await say_and_hear(bob, ann.room, first, first + 99)
        assert (await ann.come())["recovered"] is True
        assert await ann.hear(100) == [*range(first, first + 100)]
    await say(bob, ann.room, 304, 304)
    assert await ann.hear(1) == [304]


async def test_a_client_that_missed_too_much_is_told_so_and_gets_none_of_it(
    connect: Connector, rooms: Server, transport: Transport
) -> None:
    ann, bob = await listener_and_speaker(connect, transport, rooms, f"/room/2-{transport}")
    await ann.come()
    await say(bob, ann.room, 1, 1)
    assert await ann.hear(1) == [1]
    await ann.go()
    await say_and_hear(bob, ann.room, 2, 302)
    answer = await ann.come()
    assert (answer["recovered"], answer["offset"]) == (False, 302)
    await say(bob, ann.room, 303, 303)
    assert await ann.hear(1) == [303]


async def test_what_went_to_some_users_is_replayed_to_them_alone(
    connect: Connector, rooms: Server, transport: Transport
) -> None:
    ann, bob = await listener_and_speaker(connect, transport, rooms, f"/room/3-{transport}")
    await ann.come()
    await ann.go()
    for number, user in enumerate(("bob", "ann", "cat", "bob"), start=1):
        await bob.send("BROADCAST", ann.room, "whisper", {"n": number, "to": user})
    await say(bob, ann.room, 5, 5)
    for number in (1, 4, 5):
        message = await bob.receive_event("BROADCAST", "said")
        assert message["payload"]["n"] == number
    assert (await ann.come())["recovered"] is True
    assert await ann.hear(2) == [2, 5]


async def test_a_latest_value_comes_first_and_then_its_changes(
    connect: Connector, rooms: Server, transport: Transport
) -> None:
    ann, bob = await listener_and_speaker(connect, transport, rooms, f"/price/{transport}")

    await say_and_hear(bob, ann.room, 1, 3)
    assert (await ann.come())["offset"] == 2
    await say_and_hear(bob, ann.room, 4, 4)
    assert await ann.hear(2) == [3, 4]
    for first, last, recovered in ((5, 5, True), (6, 9, False)):
        await ann.go()
        await say_and_hear(bob, ann.room, first, last)
        assert (await ann.come())["recovered"] is recovered
        assert await ann.hear(1) == [last]
