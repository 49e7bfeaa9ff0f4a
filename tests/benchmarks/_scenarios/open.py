"""All of 100 members send, at random times: the cost of a delivery, and the highest rate."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tests.benchmarks._client import Phrase
from tests.benchmarks._contenders import Contender
from tests.benchmarks._figures import Sample
from tests.benchmarks._open_loop import Run, run_open
from tests.benchmarks._scenarios.scenario import Play, Scenario, Stage, fan_out, stage_of

_RUN_SECONDS: Final = 1.5
# How long after the last message deliveries may still come, at a fixed rate.
_PATIENCE_SECONDS: Final = 2.0
# The same in the search for the highest rate: a later delivery is too late anyway.
_SHORT_PATIENCE_SECONDS: Final = 0.5
# Messages, one after the other, before the first run of a server.
_WARM_UP: Final = 30
_FIRST_RATE: Final = 250
_LEAST_RATE: Final = 15
_MOST_RATE: Final = 16_000
# The ratio of the lowest rate that fails to the highest that does not, at which the search ends.
_CLOSE_ENOUGH: Final = 1.2


class Members:
    """Members of a server; the server is started again if a run ended with a fault."""

    def __init__(self, contender: Contender, size: int) -> None:
        self._contender = contender
        self._size = size
        self._stack = AsyncExitStack()
        self._stage: Stage | None = None
        self._seed = 0

    async def run(self, rate: float, patience: float) -> Run:
        """Run once; no two runs have the same arrival times."""
        phrase = Phrase(self._contender.dialect.say)
        if self._stage is None:
            self._stage = await self._stack.enter_async_context(
                stage_of(self._contender, self._size)
            )
            await fan_out(self._stage.crowd, phrase.fresh, _WARM_UP)
        self._seed += 1
        run = await run_open(self._stage, phrase, rate, _RUN_SECONDS, self._seed, patience)
        if run.fault is not None:
            await self.close()
        return run

    async def close(self) -> None:
        """Stop the server."""
        self._stage = None
        await self._stack.aclose()


def open_loop(rate: float, members: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario in which all members send, at a total rate of `rate` messages a second."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        room = Members(contender, members)
        hopeless: list[Sample] = []

        async def play() -> Sample:
            # A server that is far behind is so in every round, and its rounds take the longest.
            if len(hopeless) >= 2:
                return hopeless[len(hopeless) % 2]
            run = await room.run(rate, _PATIENCE_SECONDS)
            sample = _sample(run)
            if run.delivered < run.offered:
                hopeless.append(sample)
            return sample

        try:
            yield play
        finally:
            await room.close()

    return Scenario(
        key=f"open-{rate:g}",
        title=f"{members} members all sending, {rate:,.0f} messages a second in all",
        unit="us per delivery",
        contenders=contenders,
        enter=enter,
        connections=members,
        seconds=_RUN_SECONDS + 1.5,
        ready_seconds=2,
        most_rounds=3,
        conditions=(
            f"Open loop: Poisson arrivals for {_RUN_SECONDS:g} s, whether or not the server keeps"
            f" up; {rate * members:,.0f} deliveries a second; payloads of 100 bytes. *In time* is"
            " the share received up to 0.1 s after the last message was due. Latencies count"
            " from the moment at which a message was due, for the messages that were received."
        ),
    )


def keeps_up(members: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario that finds the highest rate at which deliveries come in time."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        room = Members(contender, members)
        runs: dict[float, Run] = {}

        async def kept_up(rate: float) -> bool:
            for _ in range(2):  # the machine may have been busy for a moment
                run = runs[rate] = await room.run(rate, _SHORT_PATIENCE_SECONDS)
                if run.kept_up or run.fault is not None:
                    break
            return runs[rate].kept_up

        async def play() -> Sample:
            good, bad = await climb(kept_up)
            last = runs.get(bad)
            extras = {"fails_at": bad} if last is not None else {}
            if good in runs:
                extras |= {"p50_ms": runs[good].p50_ms, "p99_ms": runs[good].p99_ms}
            # The client may have been what failed.
            busy = last.busy if last is not None else 0.0
            cost = runs[good].client_us if good in runs else 0.0
            return Sample(value=good, client=cost, busy=busy, extras=extras)

        try:
            yield play
        finally:
            await room.close()

    return Scenario(
        key="keeps-up",
        title=f"{members} members all sending: the highest rate that the server keeps up with",
        unit="messages a second",
        contenders=contenders,
        enter=enter,
        connections=members,
        seconds=8 * (_RUN_SECONDS + 2.0),
        ready_seconds=1,
        most_rounds=1,
        kind="rate",
        conditions=(
            "The highest rate at which the last delivery comes at most 0.1 s after the last message"
            f" was due, to within 20 %; each message makes {members} deliveries."
        ),
    )


async def climb(kept_up: Callable[[float], Awaitable[bool]]) -> tuple[float, float]:
    """Find the highest rate that the server keeps up with, and the lowest that fails.

    They are 0 and infinity if no tried rate succeeds or fails.
    """
    rate, good, bad = float(_FIRST_RATE), 0.0, float("inf")
    while _LEAST_RATE <= rate <= _MOST_RATE:
        if await kept_up(rate):
            good = rate
        else:
            bad = rate
        if good and bad < float("inf"):
            if bad / good <= _CLOSE_ENOUGH:
                break
            rate = round((good * bad) ** 0.5)
        else:
            rate = rate * 2 if good else rate / 2
    return good, bad


def _sample(run: Run) -> Sample:
    return Sample(
        value=run.server_us,
        client=run.client_us,
        busy=run.busy,
        extras={
            "in_time": run.in_time,
            "per_second": run.per_second,
            "late_ms": run.late_seconds * 1e3,
            "kept_up": float(run.kept_up),
            "p50_ms": run.p50_ms,
            "p99_ms": run.p99_ms,
            "said_late_ms": run.said_late_ms,
        },
    )
