"""The growth of the cost of a delivery: with members, with the payload, with channels."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Final

from tests.benchmarks._client import (
    CONNECTING_AT_ONCE,
    Client,
    Crowd,
    Phrase,
    client_frame,
    fresh_token,
)
from tests.benchmarks._contenders import Contender
from tests.benchmarks._dialects import Dialect
from tests.benchmarks._figures import Sample
from tests.benchmarks._scenarios.closed import fan_out_play
from tests.benchmarks._scenarios.scenario import (
    STEP_SECONDS,
    Play,
    Scenario,
    measured,
    speak,
    stage_of,
)

_SECONDS: Final = 0.4
_ROUNDS: Final = 3
# Above this, contenders run one after the other: a member is a file in the client and the server.
_TOGETHER: Final = 2_000
_MEMBERS_OF_ONE: Final = 5
_MOST_CLIENTS: Final = 1_000


def with_members(members: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario of one channel with this many members."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        if members <= _TOGETHER:
            async with stage_of(contender, members) as stage:
                yield await fan_out_play(contender, stage, 100, _SECONDS)
            return

        async def play() -> Sample:
            async with stage_of(contender, members) as stage:
                again = await fan_out_play(contender, stage, 100, 2 * _SECONDS)
                return await again()

        yield play

    alone = members > _TOGETHER
    return Scenario(
        key=f"growth-members-{members}",
        title=f"{members:,} members",
        unit="us per delivery",
        contenders=contenders,
        enter=enter,
        connections=0 if alone else members,
        seconds=members / 300 if alone else _SECONDS * 1.1,
        ready_seconds=0 if alone else 2 + members / 300,
        most_rounds=1 if alone else _ROUNDS,
        kind="growth",
        series="members",
        x=members,
    )


def with_payload(size: int, contenders: tuple[str, ...], members: int = 100) -> Scenario:
    """Make the scenario of payloads of `size` bytes."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async with stage_of(contender, members) as stage:
            yield await fan_out_play(contender, stage, size, _SECONDS)

    return Scenario(
        key=f"growth-payload-{size}",
        title=f"payloads of {size:,} bytes, {members} members",
        unit="us per delivery",
        contenders=contenders,
        enter=enter,
        connections=members,
        seconds=_SECONDS * 1.1,
        ready_seconds=2,
        most_rounds=_ROUNDS,
        kind="growth",
        series="payload bytes",
        x=size,
    )


def with_channels(channels: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario of many channels with five members each; they get messages in turn."""
    clients = min(_MOST_CLIENTS, channels * _MEMBERS_OF_ONE)

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async with stage_of(contender, clients, None) as (process, crowd):
            rooms = await _join_all(crowd, contender.dialect, channels)
            turns = cycle(rooms)

            def turn() -> tuple[list[Client], bytes, bytes]:
                room = next(turns)
                return (room.members, *room.phrase.fresh())

            yield await measured(process, lambda count: speak(crowd, turn, count), _SECONDS)

    return Scenario(
        key=f"growth-channels-{channels}",
        title=f"{channels:,} channels with {_MEMBERS_OF_ONE} members each",
        unit="us per delivery",
        contenders=contenders,
        enter=enter,
        connections=clients,
        seconds=_SECONDS * 1.1,
        ready_seconds=2 + channels / 400,
        most_rounds=_ROUNDS,
        kind="growth",
        series="channels",
        x=channels,
    )


class Room:
    """A channel with few members, and the message that is sent in it."""

    def __init__(self, members: list[Client], dialect: Dialect, name: str) -> None:
        self.members = members
        self.phrase = Phrase(lambda token: dialect.say(token, 100, name))


async def _join_all(crowd: Crowd, dialect: Dialect, channels: int) -> list[Room]:
    """Join the channels; channel n has the five clients from 5n on, and wraps around at the end."""
    clients = crowd.clients
    wanted: list[list[str]] = [[] for _ in clients]
    rooms = []
    for number in range(channels):
        name = f"/room/{number}"
        places = [(number * _MEMBERS_OF_ONE + own) % len(clients) for own in range(_MEMBERS_OF_ONE)]
        for place in places:
            wanted[place].append(name)
        rooms.append(Room([clients[place] for place in places], dialect, name))
    work = iter(list(zip(clients, wanted, strict=True)))

    async def join_each() -> None:
        for client, names in work:
            for name in names:
                joined = client.expect(dialect.is_joined, dialect.answer)
                client.send(client_frame(dialect.join(fresh_token(), name)))
                await joined

    async with asyncio.timeout(2 * STEP_SECONDS):
        await asyncio.gather(*(join_each() for _ in range(CONNECTING_AT_ONCE)))
    return rooms
