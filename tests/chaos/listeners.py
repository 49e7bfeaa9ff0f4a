"""A process of clients that remember what they have heard, and say so at the end.

`python -m tests.chaos.listeners HOST PORT FIRST COUNT TOTAL WILD SEED`: clients FIRST to FIRST +
COUNT, each of which waits until it has TOTAL messages of every channel. WILD ones cut their own
connections now and then. Prints `joined`, and at the end one JSON object.
"""

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Final

from tests.chaos.app import CHANNELS
from tests.chaos.raw_clients import Message, RawClient, RawEventStream, RawWebSocket, request_id

# Between two cuts of a wild client's own, on average.
CUT_SECONDS: Final = 4.0
AWAY_SECONDS: Final = 1.5
# A join recovers 300; a stream counts from its cursor, which may be some messages behind.
SURELY_RECOVERED: Final = 250


@dataclass
class Heard:
    """What one client knows of one channel."""

    position: Message | None = None
    numbers: list[int] = field(default_factory=list)
    is_told_lost: bool = False

    def has(self, message: Message) -> bool:
        """Whether it is known already."""
        known = self.position
        return (
            known is not None
            and known["epoch"] == message["epoch"]
            and known["offset"] >= message["offset"]
        )

    def is_at(self, total: int) -> bool:
        """Whether nothing more is to come; the offset of a channel's nth message is n."""
        known = 0 if self.position is None else self.position["offset"]
        return self.numbers[-1:] == [total] or (self.is_told_lost and known >= total)

    def take(self, message: Message) -> None:
        self.numbers.append(message["payload"]["n"])
        self.position = {"epoch": message["epoch"], "offset": message["offset"]}


class Listener:
    """One client, over as many connections as it takes."""

    def __init__(self, number: int, host: str, port: int, total: int, random: Random) -> None:
        self.is_stream = number % 2 == 1
        self._address = (host, port)
        self._target = f"/socket?user=u{number}"
        self._total = total
        self._random = random
        self._last_event_id = ""
        self._client: RawClient | None = None
        self._joined: set[str] = set()
        self.all_joined = asyncio.Event()
        self.heard = {channel: Heard() for channel in CHANNELS}
        self.tally: Counter[str] = Counter()
        self._faults: list[str] = []

    @property
    def has_all(self) -> bool:
        return all(heard.is_at(self._total) for heard in self.heard.values())

    async def run(self) -> None:
        """Listen until everything is heard, whatever happens to the connections."""
        while not self.has_all:
            try:
                await self._listen()
            except (OSError, asyncio.IncompleteReadError) as error:
                self.tally[type(error).__name__] += 1
            self.tally["connections"] += 1
            await asyncio.sleep(self._random.uniform(0.02, AWAY_SECONDS))

    async def cut_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(1 / CUT_SECONDS))
            if self._client is not None and self.all_joined.is_set():
                self.tally["cuts"] += 1
                self._client.cut()

    async def _listen(self) -> None:
        stream = None
        # A proxy that swallows everything answers nothing either.
        async with asyncio.timeout(5):
            if self.is_stream:
                stream = self._client = await RawEventStream.open(
                    *self._address, self._target, self._last_event_id
                )
            else:
                self._client = await RawWebSocket.open(*self._address, self._target)
        try:
            await self._hear(self._client)
        finally:
            if stream is not None:
                self._last_event_id = stream.decoder.last_event_id
            self._client.cut()
            self._client = None

    async def _hear(self, client: RawClient) -> None:
        async for message in client.messages():
            if message["action"] == "BROADCAST":
                self._broadcast(message)
            elif message["event"] == "CONNECTION":
                await self._join(client, set(message["payload"].get("resumed") or ()))
            elif message["event"] == "ACKNOWLEDGE":
                self._acknowledged(message)
            elif message["event"] not in ("PONG", "GOODBYE"):
                self.tally[f"unexpected {message['event']}"] += 1
            if self.has_all:
                return

    def _broadcast(self, message: Message) -> None:
        heard = self.heard[message["channelName"]]
        # A stream may be cut between a message and the cursor behind it: then it comes again.
        if self.is_stream and heard.has(message):
            self.tally["repeated"] += 1
        else:
            heard.take(message)

    async def _join(self, client: RawClient, resumed: set[str]) -> None:
        self.tally["resumed"] += len(resumed)
        joins = []
        for channel, heard in self.heard.items():
            if channel in resumed:
                continue
            since = {} if heard.position is None else {"since": heard.position}
            joins.append(
                {
                    "action": "JOIN_CHANNEL",
                    "event": "join",
                    "channelName": channel,
                    "requestId": request_id(),
                    "payload": {},
                    **since,
                }
            )
        if joins:
            await client.send(joins)

    def _acknowledged(self, message: Message) -> None:
        channel, payload = message["channelName"], message["payload"]
        heard = self.heard[channel]
        if (position := heard.position) is not None:
            self.tally[f"recovered {payload.get('recovered')}"] += 1
            if payload.get("recovered") is not True:
                heard.is_told_lost = True
                # All that was said is kept, and goes to every member.
                missed = payload["offset"] - position["offset"]
                if missed <= SURELY_RECOVERED:
                    self._faults.append(f"{channel}: {missed} missed ones were not recovered")
        if payload.get("recovered") is not True:
            heard.position = {"epoch": payload["epoch"], "offset": payload["offset"]}
        self._joined.add(channel)
        if len(self._joined) == len(CHANNELS):
            self.all_joined.set()

    def report(self) -> Message:
        """Return what became of it."""
        whole = list(range(1, self._total + 1))
        faults = self._faults + [
            f"{channel}: {_fault(heard.numbers)}"
            for channel, heard in self.heard.items()
            if heard.numbers != whole and not (heard.is_told_lost and _rises(heard.numbers))
        ]
        return {
            "transport": "sse" if self.is_stream else "websocket",
            "faults": faults,
            "tally": dict(self.tally),
        }


def _rises(numbers: list[int]) -> bool:
    return all(later > earlier for earlier, later in pairwise(numbers))


def _fault(numbers: list[int]) -> str:
    for place, number in enumerate(numbers):
        if number != place + 1:
            return f"after {numbers[max(0, place - 3) : place]} came {numbers[place : place + 3]}"
    return f"ends with {numbers[-1:]}"


async def main(arguments: list[str]) -> None:
    host = arguments[0]
    port, first, count, total, is_wild, seed = map(int, arguments[1:])
    random = Random(seed)
    listeners = [
        Listener(number, host, port, total, random) for number in range(first, first + count)
    ]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(listener.run()) for listener in listeners]
        for listener in listeners:
            await listener.all_joined.wait()
        print("joined", flush=True)
        cutting = [tasks.create_task(each.cut_now_and_then()) for each in listeners if is_wild]
        await asyncio.wait(running)
        for cut in cutting:
            cut.cancel()
    print(json.dumps([listener.report() for listener in listeners]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
