"""A process of clients that join again where they were, on any node, and note what they hear.

`python -m tests.cluster.chaos.clients FIRST COUNT SEED WILD FILE PORT PORT PORT`: clients FIRST to
FIRST + COUNT. WILD ones cut their own connections now and then. It obeys lines: `calm` ends the
cuts and the speeches, `stay` ends reconnects and prints who is on which port, `report` writes FILE.
It prints `joined` and `whole` when all of them are in all channels, and have heard the end.
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos.raw_clients import (
    Message,
    RawClient,
    RawEventStream,
    RawWebSocket,
    request_id,
)

from .heard import Heard

HOST: Final = "127.0.0.1"
CHANNELS: Final = tuple(f"/room/{number}" for number in range(8))
# The message after which nothing is to come.
END: Final = -1
# Between two cuts of a wild client's own, on average.
CUT_SECONDS: Final = 5.0
SPEECH_SECONDS: Final = 6.0
AWAY_SECONDS: Final = 0.6
RETRY_SECONDS: Final = 0.3


class Client:
    """One client, over as many connections as it takes, each to any of the nodes."""

    def __init__(self, number: int, ports: list[int], random: Random) -> None:
        self.user = f"u{number}"
        self.is_stream = number % 2 == 1
        self.port = 0
        self.heard = {channel: Heard() for channel in CHANNELS}
        self.ended: set[str] = set()
        self.joined: set[str] = set()
        self.outcomes: dict[int, tuple[str, str]] = {}
        self.tally: Counter[str] = Counter()
        self.is_calm = self.stays = False
        self._target = f"/socket?user={self.user}"
        self._ports = ports
        self._random = random
        self._last_event_id = ""
        self._client: RawClient | None = None
        self._ids = iter(range((number + 1) * 1_000_000, (number + 2) * 1_000_000))
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while not self.stays:
            try:
                await self._listen()
            except (OSError, asyncio.IncompleteReadError) as error:
                self.tally[f"{type(error).__name__} {error}"[:60]] += 1
            self.tally["connections"] += 1
            await asyncio.sleep(self._random.uniform(0.02, AWAY_SECONDS))

    async def cut_now_and_then(self) -> None:
        while not self.is_calm:
            await asyncio.sleep(self._random.expovariate(1 / CUT_SECONDS))
            if self._client is not None and not self.is_calm:
                self.tally["cuts"] += 1
                self._client.cut()

    async def speak_now_and_then(self) -> None:
        while not self.is_calm:
            await asyncio.sleep(self._random.expovariate(1 / SPEECH_SECONDS))
            if self._client is not None and self.joined and not self.is_calm:
                number, channel = next(self._ids), self._random.choice(sorted(self.joined))
                self.outcomes[number] = channel, "uncertain"
                self._start(self._send([message("BROADCAST", "say", channel, {"id": number})]))

    async def _listen(self) -> None:
        stream = None
        self.port = self._random.choice(self._ports)
        async with asyncio.timeout(5):
            if self.is_stream:
                stream = self._client = await RawEventStream.open(
                    HOST, self.port, self._target, self._last_event_id
                )
            else:
                self._client = await RawWebSocket.open(HOST, self.port, self._target)
        try:
            async for each in self._client.messages():
                self._take(each)
        finally:
            if stream is not None:
                self._last_event_id = stream.decoder.last_event_id
            self.joined.clear()
            self._client.cut()
            self._client = None

    def _take(self, each: Message) -> None:
        action, event, payload = each["action"], each["event"], each["payload"]
        channel = each["channelName"]
        if action == "BROADCAST":
            self._hear(each)
        elif event == "noted":
            self.outcomes[payload["id"]] = channel, "ok"
        elif event == "CONNECTION":
            resumed = payload.get("resumed") or ()
            self.tally["resumed"] += len(resumed)
            self.tally["not resumed"] += len(payload.get("notResumed") or ())
            self._start(self._join([each for each in CHANNELS if each not in resumed]))
            self.joined.update(resumed)
        elif event == "ACKNOWLEDGE":
            self._acknowledged(channel, payload)
        elif event == "UNAUTHORIZED" and payload.get("code") == 503:
            self.tally["refused joins"] += 1
            self._start(self._join_later(channel))
        elif action != "PRESENCE" and event not in ("PONG", "GOODBYE"):
            self.tally[f"{event} {payload}"[:80]] += 1

    def _hear(self, each: Message) -> None:
        heard, channel = self.heard[each["channelName"]], each["channelName"]
        heard.take(each["epoch"], each["offset"], each["payload"]["id"])
        if each["payload"]["id"] == END:
            self.ended.add(channel)

    def _acknowledged(self, channel: str, payload: Message) -> None:
        heard = self.heard[channel]
        recovered = payload.get("recovered")
        self.tally[f"recovered {recovered}"] += 1
        if recovered is not True:
            is_told = bool(heard.stretches)
            heard.begin(payload["epoch"], payload["offset"], is_told=is_told)
        self.joined.add(channel)

    async def _join_later(self, channel: str) -> None:
        await asyncio.sleep(self._random.uniform(0.5, 1.5) * RETRY_SECONDS)
        await self._join([channel])

    async def _join(self, channels: list[str]) -> None:
        joins = []
        for channel in channels:
            known = self.heard[channel].position
            since = {} if known is None else {"since": known._asdict()}
            joins.append({**message("JOIN_CHANNEL", "join", channel, {}), **since})
        if joins:
            await self._send(joins)

    async def _send(self, messages: list[Message]) -> None:
        client = self._client
        if client is None:
            return
        if isinstance(client, RawEventStream):
            client.address = HOST, self._random.choice(self._ports)
        try:
            async with asyncio.timeout(8):
                await client.send(messages)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.tally[f"send: {type(error).__name__} {error}"[:60]] += 1
            if any(each["action"] == "JOIN_CHANNEL" for each in messages):
                client.cut()

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self) -> None:
        """End for good."""
        self.stays = True
        if self._client is not None:
            self._client.cut()


def message(action: str, event: str, channel: str, payload: Message) -> Message:
    return {
        "action": action,
        "event": event,
        "channelName": channel,
        "requestId": request_id(),
        "payload": payload,
    }


async def when(clients: list[Client], what: str) -> None:
    """Print a word when all clients have all channels in a set of theirs."""
    counts = [getattr(client, what) for client in clients]
    while min(map(len, counts)) < len(CHANNELS):  # noqa: ASYNC110 - of many clients
        await asyncio.sleep(0.05)
    print("joined" if what == "joined" else "whole", flush=True)


async def obey(clients: list[Client], file: Path) -> None:
    """Obey lines until there are no more."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).strip():
        if line == b"calm":
            for client in clients:
                client.is_calm = True
        elif line == b"stay":
            for client in clients:
                client.stays = True
            print(json.dumps({client.user: client.port for client in clients}), flush=True)
        elif line == b"report":
            report = {
                client.user: {
                    "transport": "sse" if client.is_stream else "websocket",
                    "tally": client.tally,
                    "outcomes": {str(key): value for key, value in client.outcomes.items()},
                    "heard": {name: heard.report() for name, heard in client.heard.items()},
                }
                for client in clients
            }
            file.write_text(json.dumps(report))  # noqa: ASYNC240 - they are calm
            print("reported", flush=True)
    for client in clients:
        client.leave()


async def main(arguments: list[str]) -> None:
    first, count, seed, is_wild = map(int, arguments[:4])
    file, ports = Path(arguments[4]), [*map(int, arguments[5:])]
    random = Random(seed * 1_000 + first)
    clients = [Client(number, ports, random) for number in range(first, first + count)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in clients]
        obeying = group.create_task(obey(clients, file))
        await when(clients, "joined")
        if is_wild:
            tasks += [group.create_task(client.cut_now_and_then()) for client in clients]
        tasks += [group.create_task(client.speak_now_and_then()) for client in clients]
        tasks.append(group.create_task(when(clients, "ended")))
        await obeying
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
