"""The cost of PondSocket's own layers, without a server, a socket or another process.

`python -m tests.benchmarks.microbench` prints CPU time per operation, and its multiple of the first
line, which shows how fast the machine is at the moment.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
import uvloop
from pondsocket import EventContext, Handler, Lobby
from pondsocket._state.rates import TokenBucket
from pondsocket.adapter import BoundedQueue, Frame
from pondsocket_common import (
    ClientActions,
    ClientMessage,
    ServerActions,
    ServerMessage,
    decode_client,
    encode_client,
)
from pydantic import BaseModel

from tests.benchmarks._machine import machine
from tests.benchmarks._memory import (
    PAYLOAD,
    ROOM,
    Peer,
    Room,
    RoomOf,
    admitted,
    in_app,
    in_core,
    text_of,
)
from tests.benchmarks.apps.pond import pond
from tests.frames import frame_of

ROUNDS: Final = 15
MEMBERS: Final = 1_000
FULL: Final = 1_024  # frames, as an outbox holds by default

JOIN: Final = text_of(ClientActions.JOIN_CHANNEL, "join")
LEAVE: Final = text_of(ClientActions.LEAVE_CHANNEL, "leave")
NOTHING: Final = text_of(ClientActions.BROADCAST, "nothing")
ECHO: Final = text_of(ClientActions.BROADCAST, "echo")
NUMBERS: Final = encode_client(
    ClientMessage(ClientActions.BROADCAST, "echo", ROOM, "0" * 32, {"of": list(range(100))})
)

Play: TypeAlias = Callable[[int], Awaitable[int]]
"""Does something this many times; returns the number of operations."""

Prepare: TypeAlias = Callable[[int], AbstractAsyncContextManager[Play]]
"""Prepares a case; its argument is the number of members of a large channel."""


class Case(NamedTuple):
    """One line of the table."""

    title: str
    repeats: int
    prepare: Prepare


def calls(function: Callable[[], object]) -> Prepare:
    """Prepare a case that calls a function."""

    async def play(repeats: int) -> int:
        for _ in range(repeats):
            function()
        return repeats

    return _ready(play)


def requests(room_of: RoomOf, *texts: str) -> Prepare:
    """Prepare a case in which a member sends these texts over and over; all are one operation."""

    @asynccontextmanager
    async def prepare(_members: int) -> AsyncIterator[Play]:
        async with room_of(1) as room:

            async def play(repeats: int) -> int:
                speaker = room.peers[0]
                before = speaker.heard
                await speaker.say(*texts * repeats)
                answers = 0 if texts == (NOTHING,) else len(texts) * repeats
                await _heard(speaker, before + answers)
                return repeats

            yield play

    return prepare


class Public(BaseModel):
    """What a handler returns: a model of three fields."""

    id: int
    name: str
    tags: list[str]


PUBLIC: Final = Public(id=7, name="x" * 60, tags=["a", "b"])


async def model_as_it_is(ctx: EventContext) -> Any:
    """Return a model."""
    return PUBLIC


async def model_as_declared(ctx: EventContext) -> Public:
    """Return the same, and say so."""
    return PUBLIC


async def a_dict(ctx: EventContext) -> dict[str, Any]:
    """Return a dict."""
    return PAYLOAD


def returned(handler: Handler) -> Prepare:
    """Prepare a case in which the core sends what an event's handler returns."""

    @asynccontextmanager
    async def room_of(members: int) -> AsyncIterator[Room]:
        async with in_core(members) as room:
            owner = room.channel.owner
            assert isinstance(owner, Lobby)
            owner.on_message("return", handler)
            yield room

    return requests(room_of, text_of(ClientActions.BROADCAST, "return"))


def broadcasts(room_of: RoomOf) -> Prepare:
    """Prepare a case in which a channel broadcasts; an operation is a delivery to one member."""

    @asynccontextmanager
    async def prepare(members: int) -> AsyncIterator[Play]:
        async with room_of(members) as room:

            async def play(repeats: int) -> int:
                before = sum(peer.heard for peer in room.peers)
                last = room.peers[-1]
                for _ in range(repeats):
                    due = last.heard + 1
                    await room.channel.broadcast("say", PAYLOAD)
                    await _heard(last, due)
                told = sum(peer.heard for peer in room.peers) - before
                assert told == repeats * members
                return told

            yield play

    return prepare


async def connect(repeats: int) -> int:
    """Have the connection handler decide; a case."""
    for _ in range(repeats):
        await admitted(pond)
    return repeats


def yardstick() -> bytes:
    """Decode and encode a message: the cost of orjson alone."""
    return orjson.dumps(orjson.loads(ECHO))


def token() -> Callable[[], object]:
    """Return a function that takes a token of a rate limit, and reads the clock for it."""
    bucket, clock = TokenBucket(1e9, 500, 0.0), time.monotonic
    return lambda: bucket.take(clock())


def encode() -> str:
    """Encode a broadcast as text."""
    return Frame.of(ServerMessage(ServerActions.BROADCAST, "say", ROOM, "0" * 32, PAYLOAD)).text


def full(keys: int) -> Prepare:
    """Prepare a case in which a full outbox takes broadcasts, conflated to `keys` keys (0: not)."""
    kinds = [frame_of(ECHO.encode(), "say") for _ in range(max(1, keys))]
    for number, frame in enumerate(kinds):
        frame.channel, frame.droppable = ROOM, True
        frame.conflate_key = ("say", number) if keys else None
    newcomers = cycle(kinds)
    queue = BoundedQueue[Frame](FULL, FULL * kinds[0].size * 2, lambda _: None)
    queue.begin_writing()
    for _ in range(FULL):
        queue.append(next(newcomers))

    def push() -> None:
        assert queue.append(next(newcomers))

    return calls(push)


async def _heard(peer: Peer, count: int) -> None:
    # Only turns of the loop: an asyncio.Event would be measured as well.
    while peer.heard < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


def _ready(play: Play) -> Prepare:
    @asynccontextmanager
    async def prepare(_members: int) -> AsyncIterator[Play]:
        yield play

    return prepare


CASES: Final = (
    Case("orjson.loads and dumps of a message: the yardstick", 10_000, calls(yardstick)),
    Case("decode_client", 10_000, calls(lambda: decode_client(ECHO))),
    Case("decode_client, 100 numbers in the payload", 5_000, calls(lambda: decode_client(NUMBERS))),
    Case("a token of a rate limit", 10_000, calls(token())),
    Case("encode a broadcast as text", 10_000, calls(encode)),
    Case("event, the handler does nothing; core", 2_000, requests(in_core, NOTHING)),
    Case("event, the handler does nothing; core and adapter", 2_000, requests(in_app, NOTHING)),
    Case("event, the handler replies; core", 2_000, requests(in_core, ECHO)),
    Case("event, the handler replies; core and adapter", 900, requests(in_app, ECHO)),
    Case("event, the handler returns a dict; core", 2_000, returned(a_dict)),
    Case("event, the handler returns a model, `-> Any`; core", 2_000, returned(model_as_it_is)),
    Case(
        "event, the handler returns a model, `-> Public`; core", 2_000, returned(model_as_declared)
    ),
    Case("broadcast to 1,000, per member; core", 20, broadcasts(in_core)),
    Case("broadcast to 1,000, per member; core and adapter", 10, broadcasts(in_app)),
    Case("a broadcast to a full outbox, drop_oldest", 10_000, full(0)),
    Case("a broadcast to a full outbox, conflated to 100", 10_000, full(100)),
    Case("a broadcast to a full outbox, conflated to 1,024", 10_000, full(FULL)),
    Case("join and leave; core", 500, requests(in_core, JOIN, LEAVE)),
    Case("connect; core", 500, _ready(connect)),
)


async def measure(rounds: int, members: int, shorter: int) -> list[list[float]]:
    """Measure each case in us, one figure a round; `shorter` divides the repeats."""
    figures: list[list[float]] = [[] for _ in CASES]
    async with AsyncExitStack() as stack:
        plays = [await stack.enter_async_context(case.prepare(members)) for case in CASES]
        for number in range(rounds + 1):
            for case, play, own in zip(CASES, plays, figures, strict=True):
                started = time.process_time()
                operations = await play(max(1, case.repeats // shorter))
                if number:  # the first round is the warm-up
                    own.append((time.process_time() - started) / operations * 1e6)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    size = (1, MEMBERS // 20, 50) if chosen.quick else (chosen.rounds, MEMBERS, 1)
    print(machine("pondsocket", "uvloop", "anyio", "orjson") + "\n")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(*size))
    width = max(len(case.title) for case in CASES)
    print(f"{'CPU time in us':{width}}  {'median':>8} {'min':>8} {'ratio':>8}")
    floor = statistics.median(figures[0])
    for case, own in zip(CASES, figures, strict=True):
        median = statistics.median(own)
        print(f"{case.title:{width}}  {median:8.2f} {min(own):8.2f} {median / floor:8.1f}")


if __name__ == "__main__":
    main()
