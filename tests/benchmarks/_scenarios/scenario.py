"""A scenario, and what all scenarios use."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from tests.benchmarks._client import Client, Crowd
from tests.benchmarks._contenders import Contender, Process
from tests.benchmarks._dialects import CHANNEL
from tests.benchmarks._figures import Sample
from tests.benchmarks._meter import MICROSECONDS, metered

# Long enough that the clocks' steps and one collection of garbage do not show.
ROUND_SECONDS: Final = 0.6
# For a step that takes at most ten seconds on an idle machine.
STEP_SECONDS: Final = 300.0

# Of a server and of the client, besides the connections.
_OTHER_FILES: Final = 500

Play: TypeAlias = Callable[[], Awaitable[Sample]]
"""One round of one contender."""

Enter: TypeAlias = Callable[[Contender], AbstractAsyncContextManager[Play]]
"""Prepares a contender and warms it up."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """An operation that clients repeat.

    Args:
        unit: What is measured, such as `us per delivery`.
        contenders: The keys of those that take part.
        connections: How many stay open between a contender's rounds.
        seconds: How long a round of one contender takes, for the estimate.
        ready_seconds: How long the preparation of one contender takes.
        most_rounds: The highest useful number of rounds.
        kind: The form in which the page shows it: `cost`, `rate`, `difference`, `stops`, `growth`
            or `nodes`.
        series: What grows, if the result is a point of a plot; `x` is its size.
    """

    key: str
    title: str
    unit: str
    contenders: tuple[str, ...]
    enter: Enter
    connections: int = 0
    seconds: float = ROUND_SECONDS * 1.1
    ready_seconds: float = 3.0
    most_rounds: int = 1_000
    kind: str = "cost"
    conditions: str = ""
    series: str = ""
    x: float = 0


def most_members(wanted: int) -> int:
    """Return how many members there can be: fewer if the system's limit on open files is too low.

    Both the server and the client have a file for each of them.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard - _OTHER_FILES)


class Stage(NamedTuple):
    """A server and its clients."""

    process: Process
    crowd: Crowd


@asynccontextmanager
async def stage_of(
    contender: Contender, members: int, channel: str | None = CHANNEL
) -> AsyncIterator[Stage]:
    """Start the contender's server, and connect `members` members of a channel."""
    with contender.server() as process:
        crowd = Crowd()
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await crowd.connect(process.port, contender.dialect, members, channel)
            yield Stage(process, crowd)
        finally:
            crowd.close()


async def repeats_for(play: Callable[[int], Awaitable[int]], seconds: float) -> int:
    """Find how many repeats take `seconds`, by playing, which is also the warm-up."""
    repeats = 1
    while True:
        started = time.perf_counter()
        await play(repeats)
        took = time.perf_counter() - started
        if took > seconds / 4:
            return max(1, int(repeats * seconds / took))
        repeats *= 2


async def measured(process: Process, play: Callable[[int], Awaitable[int]], seconds: float) -> Play:
    """Rounds that take so many seconds, metered."""
    async with asyncio.timeout(STEP_SECONDS):
        repeats = await repeats_for(play, seconds)

    async def play_round() -> Sample:
        return await metered(process.pid, lambda: play(repeats), MICROSECONDS)

    return play_round


async def fan_out(crowd: Crowd, phrase: Callable[[], tuple[bytes, bytes]], repeats: int) -> int:
    """One member speaks; the next message follows when every client has heard this one, once."""
    return await speak(crowd, lambda: (crowd.clients, *phrase()), repeats)


async def speak(
    crowd: Crowd, turn: Callable[[], tuple[list[Client], bytes, bytes]], repeats: int
) -> int:
    """The first of some clients speaks; the next turn follows when each has heard it, once.

    Args:
        turn: Gives the clients, the token that they hear, and the frame that is sent.
    """
    token = b""
    waiting: set[Client] = set()

    def on_text(client: Client, text: bytes) -> None:
        if token not in text or client not in waiting:
            crowd.fail(f"a member heard something else, or something twice: {text[:500]!r}")
            return
        waiting.remove(client)
        if not waiting:
            crowd.finish()

    crowd.listen(on_text)
    deliveries = 0
    for _ in range(repeats):
        members, token, frame = turn()
        waiting.update(members)
        deliveries += len(waiting)
        members[0].send(frame)
        await crowd.finished()
    return deliveries


async def speak_ahead(
    crowd: Crowd, phrase: Callable[[], tuple[bytes, bytes]], window: int, repeats: int
) -> int:
    """One member speaks; up to `window` messages are on their way, which each hears once, in order.

    Args:
        repeats: How many messages.
    """
    speaker, members = crowd.clients[0], len(crowd.clients)
    tokens: list[bytes] = []
    # How many messages each client has heard, and how many clients have not heard a message yet.
    heard = dict.fromkeys(crowd.clients, 0)
    missing: list[int] = []

    def say() -> None:
        if len(tokens) < repeats:
            token, frame = phrase()
            tokens.append(token)
            missing.append(members)
            speaker.send(frame)

    def on_text(client: Client, text: bytes) -> None:
        place = heard[client]
        if place == len(tokens) or tokens[place] not in text:
            crowd.fail(f"a member heard something else, or out of order: {text[:500]!r}")
            return
        heard[client] = place + 1
        missing[place] -= 1
        if not missing[place]:
            say()
            if place + 1 == repeats:
                crowd.finish()

    crowd.listen(on_text)
    for _ in range(window):
        say()
    await crowd.finished()
    return repeats * members


async def echo(crowd: Crowd, phrase: Callable[[], tuple[bytes, bytes]], repeats: int) -> int:
    """Send from every client, and again as soon as the client has its own reply."""
    asked: dict[Client, bytes] = {}
    left = dict.fromkeys(crowd.clients, repeats)

    def ask(client: Client) -> None:
        asked[client], frame = phrase()
        client.send(frame)

    def on_text(client: Client, text: bytes) -> None:
        if asked[client] not in text or client not in left:
            crowd.fail(f"a client had another answer than its own: {text[:500]!r}")
            return
        left[client] -= 1
        if left[client]:
            ask(client)
            return
        del left[client]
        if not left:
            crowd.finish()

    crowd.listen(on_text)
    for client in crowd.clients:
        ask(client)
    await crowd.finished()
    return repeats * len(crowd.clients)
