"""Readers that pause and go on, in channels that rather drop messages than close them."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.integration.clients import Message, Transport, until
from tests.integration.raw_clients import RawClient, connecting
from tests.integration.server_state import kernel_bytes, watch
from tests.servers import Server

pytestmark = pytest.mark.integration

APP: Final = "tests.integration.stall_app:app"
SIZE: Final = 60_000
QUESTIONS: Final = 10
# Messages of which no kernel takes all: by default it holds 4 MB of them for a connection, and an
# outbox one.
MUCH: Final = QUESTIONS * ((kernel_bytes() + 5_000_000) // SIZE // QUESTIONS)
KEYS: Final = ("bread", "milk", "salt")
RECEIVE_BUFFER: Final = 8_192


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # As long as this test takes on any machine: no client here is to be ended for a hanging write.
    env = {"POND_OPTIONS": json.dumps({"write_timeout": 60})}
    with Server(APP, "--ws", "websockets-sansio", env=env) as server:
        yield server


async def miss_most(server: Server, transport: Transport, room: str) -> list[Message]:
    """Return what a member gets of broadcasts and of its own questions, if it pauses meanwhile.

    Its name is that of the transport and the room.
    """
    async with connecting(server) as connect:
        driver = await (await connect("websocket", "driver")).join(room)
        reader = await (await connect(transport, transport + room, RECEIVE_BUFFER)).join(room)
        heard = await hear_most(driver, reader, room)
        await expect_told_once(server, reader.user, MUCH - len(heard_numbers(heard)))
    return heard


async def hear_most(driver: RawClient, reader: RawClient, room: str) -> list[Message]:
    reader.stall()
    for number in range(1, MUCH + 1):
        payload = {"n": number, "size": SIZE, "key": KEYS[number % len(KEYS)]}
        await driver.send("BROADCAST", room, "say", payload)
        assert (await driver.receive("said"))["payload"]["n"] == number
        if number % (MUCH // QUESTIONS) == 0:
            await reader.send("BROADCAST", room, "ask", {"after": number})
    await reader.send("JOIN_CHANNEL", f"{room}-second", "join", {})
    await all_is_taken(driver.server, room)
    reader.resume()
    heard: list[Message] = []
    while not heard or heard[-1]["event"] != "ACKNOWLEDGE":
        heard.append(await next_message(reader))
    return heard


async def all_is_taken(server: Server, room: str) -> None:
    """Wait until the server has handled what the reader sent last."""

    async def is_next_door() -> bool:
        return f"{room}-second" in (await watch(server))["users"]

    await until(is_next_door, "the join was handled")


async def next_message(reader: RawClient) -> Message:
    async with asyncio.timeout(10):
        while not reader.messages:
            assert not reader.ended.done(), "the reader was let go"
            await asyncio.sleep(0.005)
    return reader.messages.pop(0)


def heard_numbers(heard: list[Message]) -> list[int]:
    return [message["payload"]["n"] for message in heard if message["event"] == "said"]


async def expect_told_once(server: Server, user: str, missed: int) -> None:
    """Expect the log to say when it began and how it ended, and no more."""
    assert missed > 0
    began = f"A slow consumer misses events from now on (user={user!r})."
    ended = f"A slow consumer missed {missed} events (user={user!r})."

    async def has_ended() -> bool:
        return ended in server.log()

    await until(has_ended, "the reader had caught up")
    told = [line for line in server.log().splitlines() if user in line and "slow" in line]
    # Behind the time, the level, the logger and the connection.
    assert [line.partition("] ")[2] for line in told] == [began, ended]


def expect_no_answer_missing(heard: list[Message]) -> None:
    answers = [message["payload"]["after"] for message in heard if message["event"] == "answered"]
    assert answers == list(range(MUCH // QUESTIONS, MUCH + 1, MUCH // QUESTIONS))


async def test_a_reader_that_pauses_gets_the_newest_where_the_oldest_are_dropped(
    server: Server, transport: Transport
) -> None:
    before = (await watch(server))["counts"].get("dropped", 0)
    heard = await miss_most(server, transport, "/drop/1")
    numbers = heard_numbers(heard)
    # One piece is missing: after what was on its way already, and before the newest.
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    missed = MUCH - len(numbers)
    assert sorted(steps) == [1] * (len(steps) - 1) + [missed + 1]
    assert numbers[0] == 1
    assert numbers[-1] == MUCH
    expect_no_answer_missing(heard)
    assert (await watch(server))["counts"]["dropped"] == before + missed


async def test_a_reader_that_pauses_gets_the_latest_of_each_key_where_events_are_conflated(
    server: Server, transport: Transport
) -> None:
    heard = await miss_most(server, transport, "/latest/1")
    numbers = heard_numbers(heard)
    assert numbers == sorted(set(numbers))
    latest = {
        message["payload"]["key"]: message["payload"]["n"]
        for message in heard
        if message["event"] == "said"
    }
    assert sorted(latest.values()) == [MUCH - 2, MUCH - 1, MUCH]
    expect_no_answer_missing(heard)
