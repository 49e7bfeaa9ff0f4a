"""Closed loops: the next message is sent when the last one has been answered."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.benchmarks._client import Client, Phrase
from tests.benchmarks._contenders import Contender
from tests.benchmarks._dialects import CHANNEL
from tests.benchmarks._figures import Sample, percentile
from tests.benchmarks._meter import MICROSECONDS, group_seconds
from tests.benchmarks._scenarios.scenario import (
    ROUND_SECONDS,
    Play,
    Scenario,
    Stage,
    echo,
    fan_out,
    measured,
    repeats_for,
    speak_ahead,
    stage_of,
)

_WINDOW_OF_ONE: Final = (
    "One member broadcasts, and sends the next message when all members have the last one: a window"
    " of one. So no two messages can leave a server together."
)
_WINDOW: Final = (
    "One member broadcasts, and sends the next message when all members have the oldest of the {}"
    " that are on their way. So a server may send several to a member in one write, as in a busy"
    " channel."
)


def fan_out_to(
    members: int, contenders: tuple[str, ...], seconds: float = ROUND_SECONDS, window: int = 1
) -> Scenario:
    """Make the scenario in which one member broadcasts to all.

    Args:
        window: How many messages are on their way at most.
    """

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async with stage_of(contender, members) as stage:
            yield await fan_out_play(contender, stage, 100, seconds, window=window)

    by = "one message at a time" if window == 1 else f"{window} messages at a time"
    return Scenario(
        key="fan-out" if window == 1 else f"fan-out-{window}",
        title=f"Fan-out to {members:,} WebSocket members, {by}",
        unit="us per delivery",
        contenders=contenders,
        enter=enter,
        connections=members,
        seconds=seconds * 1.1,
        ready_seconds=2 + members / 300,
        conditions=(
            f"{_WINDOW_OF_ONE if window == 1 else _WINDOW.format(window)} Payloads of 100 bytes."
        ),
    )


async def fan_out_play(
    contender: Contender,
    stage: Stage,
    size: int,
    seconds: float,
    channel: str = CHANNEL,
    *,
    window: int = 1,
) -> Play:
    """Make a round in which one member broadcasts to all."""
    process, crowd = stage
    phrase = Phrase(lambda token: contender.dialect.say(token, size, channel))
    if window > 1:
        return await measured(
            process, lambda count: speak_ahead(crowd, phrase.fresh, window, count), seconds
        )
    return await measured(process, lambda count: fan_out(crowd, phrase.fresh, count), seconds)


def echo_of(clients: int, contenders: tuple[str, ...], seconds: float = ROUND_SECONDS) -> Scenario:
    """Make the scenario of requests and replies, each client independently."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async with stage_of(contender, clients) as (process, crowd):
            phrase = Phrase(contender.dialect.echo)
            yield await measured(process, lambda count: echo(crowd, phrase.fresh, count), seconds)

    return Scenario(
        key="echo",
        title=f"Echo, {clients} connections",
        unit="us per request",
        contenders=contenders,
        enter=enter,
        connections=clients,
        seconds=seconds * 1.1,
        conditions="Each client sends again as soon as it has its reply; payloads of 100 bytes.",
    )


def echo_of_one(contenders: tuple[str, ...], seconds: float = ROUND_SECONDS) -> Scenario:
    """Make the scenario of the wall-clock latency of a single request."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async with stage_of(contender, 1) as (process, crowd):
            phrase = Phrase(contender.dialect.echo)
            client = crowd.clients[0]
            count = await repeats_for(lambda times: echo(crowd, phrase.fresh, times), seconds)

            async def play() -> Sample:
                before = group_seconds(process.pid)
                waits = await _waits(client, phrase, count)
                cost = (group_seconds(process.pid) - before) / count * MICROSECONDS
                return Sample(
                    value=percentile(waits, 0.5) * MICROSECONDS,
                    extras={
                        "p99_us": percentile(waits, 0.99) * MICROSECONDS,
                        "server_us": cost,
                    },
                )

            yield play

    return Scenario(
        key="echo-one",
        title="Echo of one client: latency",
        unit="us, p50 by the clock",
        contenders=contenders,
        enter=enter,
        connections=1,
        seconds=seconds * 1.1,
        conditions="One connection, one request at a time: the time from request to reply.",
    )


async def _waits(client: Client, phrase: Phrase, count: int) -> list[float]:
    waits = []
    for _ in range(count):
        token, frame = phrase.fresh()
        answered = client.expect(lambda text, due=token: due in text)  # type: ignore[misc]
        started = time.perf_counter()
        client.send(frame)
        await answered
        waits.append(time.perf_counter() - started)
    return waits
