"""How many blocks of memory a broadcast and a join take, as Python's allocator counts them.

Time depends on the machine and on its load; the number of blocks does not. The clients drop what
they are sent. Each operation is repeated, and the median counts: so what is made only once, by the
first of them, does not.

Python keeps the blocks of some freed objects, such as tuples, for the next ones of their type. An
object that is made in such a block is not seen.
"""

import gc
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel
from pondsocket import Channel, History, PondSocket
from pondsocket.adapter import Batch, Frame
from pondsocket_common import ClientActions, ClientMessage, CloseCode, encode_client

from tests.core.ponds import ROOM, UNLIMITED, accept_join, admit, admitted

MEMBERS: Final = 10
REPEATS: Final = 200
PAYLOAD: Final = {"text": "x" * 88}


class Blocks(NamedTuple):
    """How many more blocks are in use than before an operation.

    Attributes:
        at_offer: When its frame is offered to the last client.
        kept: When it is over.
    """

    at_offer: int
    kept: int


class Client:
    """A client that says what the test has it say, and drops what it is sent."""

    pending: Final = 0

    def __init__(self) -> None:
        # Blocks in use: when a text is given to the session, when a frame is offered, and when the
        # session asks for the next text.
        self.before = self.at_offer = self.after = 0
        self._text: str | None = None
        self._came = anyio.Event()
        self._is_silent = True

    def offer(self, frame: Frame) -> bool:
        """Drop a frame."""
        self.at_offer = sys.getallocatedblocks()
        return True

    def offer_batch(self, batch: Batch) -> bool:
        """Drop several frames."""
        return all(map(self.offer, batch.frames))

    def wait_for_room(self, _callback: Callable[[], None], _size: int) -> bool:
        """Return False: there is always room."""
        return False

    def end(
        self, _code: CloseCode, _reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        """Be closed."""

    async def pull(self) -> str:
        """Return the next text."""
        self.after = sys.getallocatedblocks()
        while self._text is None:
            self._is_silent = True
            self._came = anyio.Event()
            await self._came.wait()
        text, self._text = self._text, None
        self.before = sys.getallocatedblocks()
        return text

    async def say(self, text: str) -> None:
        """Send a text, and wait until it is handled."""
        self._text, self._is_silent = text, False
        self._came.set()
        while not self._is_silent:
            await anyio.lowlevel.checkpoint()


def text_of(action: ClientActions) -> str:
    return encode_client(ClientMessage(action, "any", ROOM, "0" * 32, {})).decode()


JOIN: Final = text_of(ClientActions.JOIN_CHANNEL)
LEAVE: Final = text_of(ClientActions.LEAVE_CHANNEL)


@asynccontextmanager
async def room(history: History | None, first: Client) -> AsyncIterator[tuple[Channel, Client]]:
    """Yield a channel, and the last of its members. `first` is the first of them."""
    pond = PondSocket(options=UNLIMITED)
    lobby = pond.create_endpoint("/socket", admit).create_channel(
        "/room/:id", accept_join, history=history
    )
    clients = [first, *(Client() for _ in range(MEMBERS - 1))]
    async with anyio.create_task_group() as tasks:
        for number, client in enumerate(clients):
            session = await admitted(pond, f"user{number}")
            tasks.start_soon(session.run, client, client.pull)
            await client.say(JOIN)
        channel = await lobby.get_channel(ROOM)
        assert channel is not None
        yield channel, clients[-1]
        tasks.cancel_scope.cancel()


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from freeing anything meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def of_a_broadcast(history: History | None = None, first: Client | None = None) -> Blocks:
    """Measure a broadcast of the channel."""
    # Made before: a list that grows takes blocks of its own.
    at_offer, kept = [0] * REPEATS, [0] * REPEATS
    async with room(history, first or Client()) as (channel, last):
        with uncollected():
            for each in range(REPEATS):
                before = sys.getallocatedblocks()
                await channel.broadcast("said", PAYLOAD)
                kept[each] = sys.getallocatedblocks() - before
                at_offer[each] = last.at_offer - before
    return _median(at_offer, kept)


async def of_a_join(history: History | None = None) -> Blocks:
    """Measure a join that is accepted, from its text to its acknowledgement, and to its end."""
    at_offer, kept = [0] * REPEATS, [0] * REPEATS
    async with room(history, Client()) as (_, last):
        with uncollected():
            for each in range(REPEATS):
                await last.say(LEAVE)
                await last.say(JOIN)
                kept[each] = last.after - last.before
                at_offer[each] = last.at_offer - last.before
    return _median(at_offer, kept)


def _median(at_offer: list[int], kept: list[int]) -> Blocks:
    return Blocks(round(statistics.median(at_offer)), round(statistics.median(kept)))
