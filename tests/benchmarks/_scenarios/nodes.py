"""Two workers with Redis between them: what it adds, how much they publish, and who pays for it.

A worker is a server as everywhere else, told by its environment where Redis is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Final

from tests.benchmarks._client import (
    BenchmarkFailed,
    Client,
    Crowd,
    Phrase,
    client_frame,
    fresh_token,
)
from tests.benchmarks._contenders import ENGINE, Contender, Process
from tests.benchmarks._dialects import CHANNEL
from tests.benchmarks._figures import Sample
from tests.benchmarks._meter import MICROSECONDS, group_seconds
from tests.benchmarks._open_loop import Run, run_open
from tests.benchmarks._scenarios.scenario import (
    ROUND_SECONDS,
    Play,
    Scenario,
    Stage,
    fan_out,
    repeats_for,
    speak,
    stage_of,
)

_RUN_SECONDS: Final = 1.5
_PATIENCE_SECONDS: Final = 2.0
# More than one, as a member's next message waits until the last one was published.
_SENDERS: Final = 2
# For connecting, and for the first messages.
_READY_SECONDS: Final = 60.0
# Some subscribe after they have let a member in: what comes before that is lost.
_SUBSCRIBING_SECONDS: Final = 0.5
_WARM_UP: Final = 100
_REDIS: Final = (
    ENGINE,
    "--bind",
    "{host}",
    "--port",
    "{port}",
    "--save",
    "",
    "--appendonly",
    "no",
)
# The channel that is published into; its only member is at the second worker.
_TARGET: Final = "/room/2"


@dataclass(frozen=True)
class Nodes:
    """Redis, the worker to which senders are connected, the other worker, and all clients."""

    redis: Process
    first: Process
    second: Process
    crowd: Crowd

    def seconds(self) -> tuple[float, float, float]:
        """Return the CPU time that both workers and Redis have used so far."""
        first, second, redis = (
            group_seconds(process.pid) for process in (self.first, self.second, self.redis)
        )
        return first, second, redis

    def shares(self, before: tuple[float, float, float], operations: int) -> dict[str, float]:
        """Return what an operation has cost each since then, in microseconds."""
        names = "first_us", "second_us", "redis_us"
        return {
            name: (now - then) / operations * MICROSECONDS
            for name, then, now in zip(names, before, self.seconds(), strict=True)
        }


@asynccontextmanager
async def nodes_of(contender: Contender) -> AsyncIterator[Nodes]:
    """Start Redis and two workers on it."""
    with Process(*_REDIS) as redis:
        env = {"BENCHMARK_REDIS": f"redis://{redis.host}:{redis.port}"}
        with contender.server(env) as first, contender.server(env) as second:
            crowd = Crowd()
            try:
                yield Nodes(redis, first, second, crowd)
            finally:
                crowd.close()


def crossing(rate: float, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario of the latency from a sender to a listener, at two workers and at one."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        phrase = Phrase(contender.dialect.say)
        async with stage_of(contender, 1 + _SENDERS) as alone, nodes_of(contender) as nodes:
            across = Stage(nodes.second, nodes.crowd)
            async with asyncio.timeout(_READY_SECONDS):
                # The listener is the first of the clients.
                await nodes.crowd.connect(nodes.second.port, contender.dialect, 1, CHANNEL)
                await nodes.crowd.connect(nodes.first.port, contender.dialect, _SENDERS, CHANNEL)
                await asyncio.sleep(_SUBSCRIBING_SECONDS)
                for stage in (alone, across):
                    await fan_out(stage.crowd, phrase.fresh, _WARM_UP)
            seed = 0

            async def run(stage: Stage) -> Run:
                done = await run_open(
                    stage, phrase, rate, _RUN_SECONDS, seed, _PATIENCE_SECONDS, listeners=1
                )
                if done.fault is not None:
                    raise BenchmarkFailed(f"{done.in_time:.0%} came in time: {done.fault}")
                return done

            async def play() -> Sample:
                nonlocal seed
                seed += 1
                one, before = await run(alone), nodes.seconds()
                two = await run(across)
                # All members hear each message.
                shares = nodes.shares(before, two.offered // (1 + _SENDERS))
                return crossed(one, two, shares)

            yield play

    return Scenario(
        key="nodes-latency",
        title=f"From one worker to the other, {rate:,.0f} messages a second",
        unit="ms added, p50",
        contenders=contenders,
        enter=enter,
        connections=2 * (1 + _SENDERS),
        seconds=2 * (_RUN_SECONDS + 0.9),
        ready_seconds=7,
        kind="nodes",
        conditions=(
            f"{_SENDERS} senders are connected to worker 1, and a listener to worker 2; in the"
            " same round, all to one worker without Redis. Poisson arrivals; payloads of 100"
            " bytes. Latencies are those to the listener, from the moment at which a message was"
            " due. CPU time is per message, with its delivery to all of them."
        ),
    )


def crossed(one: Run, two: Run, shares: dict[str, float]) -> Sample:
    """Return what the way over Redis has added to a message."""
    return Sample(
        value=two.p50_ms - one.p50_ms,
        client=two.client_us * (1 + _SENDERS),
        busy=max(one.busy, two.busy),
        extras={
            "p50_ms": two.p50_ms,
            "p99_ms": two.p99_ms,
            "added_p99_ms": two.p99_ms - one.p99_ms,
            "alone_p50_ms": one.p50_ms,
            "alone_p99_ms": one.p99_ms,
            **shares,
        },
    )


def publishing(at_once: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario of tasks of one worker that publish to a member at the other."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        async with nodes_of(contender) as nodes:
            async with asyncio.timeout(_READY_SECONDS):
                await nodes.crowd.connect(nodes.first.port, contender.dialect, 1, CHANNEL)
                await nodes.crowd.connect(nodes.second.port, contender.dialect, 1, _TARGET)
                await asyncio.sleep(_SUBSCRIBING_SECONDS)

                async def publish(count: int) -> int:
                    def ask(token: str) -> bytes:
                        return contender.dialect.publish(token, _TARGET, count, at_once)

                    return await published(nodes.crowd, ask, count)

                count = await repeats_for(publish, ROUND_SECONDS)

            async def play() -> Sample:
                before, started, own = nodes.seconds(), perf_counter(), process_time()
                await publish(count)
                took, own = perf_counter() - started, process_time() - own
                return Sample(
                    value=count / took,
                    client=own / count * MICROSECONDS,
                    busy=own / took,
                    extras=nodes.shares(before, count),
                )

            yield play

    tasks = "one task, which awaits each" if at_once == 1 else f"{at_once} tasks at once"
    return Scenario(
        key=f"nodes-publish-{at_once}",
        title=f"Publishing to the other worker: {tasks}",
        unit="messages a second",
        contenders=contenders,
        enter=enter,
        connections=2,
        seconds=ROUND_SECONDS * 1.2,
        ready_seconds=6,
        kind="nodes",
        conditions=(
            "A handler at worker 1 publishes; until the one member, at worker 2, has all. What"
            " waits while Redis is asked goes to it in one batch. Without a history, PondSocket"
            " awaits only that there is room to wait. CPU time is per message; payloads of 100"
            " bytes."
        ),
    )


async def published(crowd: Crowd, ask: Callable[[str], bytes], count: int) -> int:
    """The first client has a server publish; until it is answered, and the second has heard all.

    Raises:
        BenchmarkFailed: A client heard something else.
    """
    asker, listener = crowd.clients
    token = fresh_token()
    left = {asker: 1, listener: count}

    def on_text(client: Client, text: bytes) -> None:
        is_mine = b'"done"' in text if client is asker else token.encode() in text
        left[client] -= 1
        if not is_mine or left[client] < 0:
            crowd.fail(f"a client heard something else, or something twice: {text[:500]!r}")
        elif not any(left.values()):
            crowd.finish()

    crowd.listen(on_text)
    asker.send(client_frame(ask(token)))
    await crowd.finished()
    return count


def fan_out_over_two(members: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario in which one member broadcasts to all, half of them at each worker."""
    half = members // 2

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        phrase = Phrase(contender.dialect.say)
        async with nodes_of(contender) as nodes:
            async with asyncio.timeout(_READY_SECONDS):
                # The first of them is the one that broadcasts.
                for worker in (nodes.first, nodes.second):
                    await nodes.crowd.connect(worker.port, contender.dialect, half, CHANNEL)
                await asyncio.sleep(_SUBSCRIBING_SECONDS)
                audience = nodes.crowd.clients

                async def tell(count: int) -> int:
                    return await speak(nodes.crowd, lambda: (audience, *phrase.fresh()), count)

                count = await repeats_for(tell, ROUND_SECONDS)

            async def play() -> Sample:
                before, started, own = nodes.seconds(), perf_counter(), process_time()
                deliveries = await tell(count)
                took, own = perf_counter() - started, process_time() - own
                shares = nodes.shares(before, deliveries)
                return Sample(
                    value=sum(shares.values()),
                    client=own / deliveries * MICROSECONDS,
                    busy=own / took,
                    extras=shares,
                )

            yield play

    return Scenario(
        key="nodes-fan-out",
        title=f"Fan-out to {members:,} members, half of them at each worker",
        unit="us per delivery",
        contenders=contenders,
        enter=enter,
        connections=members,
        seconds=ROUND_SECONDS * 1.2,
        ready_seconds=6 + members / 300,
        kind="nodes",
        conditions=(
            "One member broadcasts, one message at a time; payloads of 100 bytes. CPU time is per"
            " delivery to any member, of both workers and Redis together and of each."
        ),
    )
