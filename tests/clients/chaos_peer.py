"""A process of clients that note what they hear, while some of them cut their own connections.

`python -m tests.clients.chaos_peer LOOP URL FIRST COUNT SEED LAST WILD SPEAKS`: as
`chaos_peer.mjs`, with the client in Python on asyncio or trio.
"""

import json
import socket
import sys
from collections import Counter
from contextlib import AsyncExitStack, suppress
from random import Random
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread
import httpx2
from pondsocket_asgi.client import ChannelState, Client, Gap, Message, PondClientError, Room
from pondsocket_asgi.client._machine.values import Changed, Failed, Joined, Over, Tell

CHANNELS: Final = tuple(f"/room/{number}" for number in range(8))
CUT_SECONDS: Final = 3.0
HOLD_SECONDS: Final = 5.0
SPEECH_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 2.5


class Peer(Client):
    """One client."""

    heard_at = 0.0
    is_calm = False

    def __init__(self, url: str, number: int, random: Random) -> None:
        self.transport = "sse" if number % 2 else "websocket"
        self.tally: Counter[str] = Counter()
        self.calls: dict[int, list[str]] = {}
        self.heard: dict[str, list[int]] = {channel: [] for channel in CHANNELS}
        self.told = dict.fromkeys(CHANNELS, 0)
        self._ids = (number + 1) * 1_000_000
        self._random = random
        self._socket: socket.socket | None = None
        http = httpx2.AsyncClient(
            verify=False, timeout=None, event_hooks={"response": [self._responded]}
        )
        super().__init__(
            url,
            params={"user": f"u{number}"},
            transports=["sse"] if number % 2 else ["websocket"],
            http=http,
        )
        self.joined: dict[str, Room] = {}
        self.own_http = http

    async def _responded(self, response: httpx2.Response) -> None:
        if response.request.method == "GET":
            stream = response.extensions["network_stream"]
            self._socket = stream.get_extra_info("socket")

    def _told(self, effect: Joined | Tell | Failed | Over | Changed) -> None:
        super()._told(effect)
        if isinstance(effect, Changed):
            self.tally[effect.status.state.value] += 1
        elif isinstance(effect, Joined) and effect.recovered is not None:
            self.tally["recovered" if effect.recovered else "not recovered"] += 1

    @property
    def is_joined(self) -> bool:
        return len(self.joined) == len(CHANNELS) and all(
            room.state is ChannelState.JOINED for room in self.joined.values()
        )

    def is_whole(self, last: int) -> bool:
        """Whether it has heard the last message of each channel, or was told of a gap there."""
        return self.is_joined and all(
            last in heard or self.told[channel] for channel, heard in self.heard.items()
        )

    @property
    def is_calling(self) -> bool:
        """Whether a call has no answer yet."""
        return any(fate == "open" for _, fate in self.calls.values())

    async def listen(self, channel: str) -> None:
        room = self.joined[channel] = await self.join(channel, timeout=60)
        try:
            async for event in room:
                if isinstance(event, Gap):
                    self.told[channel] += 1
                # Not the late answer of a call whose time was over.
                elif isinstance(event, Message) and event.event == "said":
                    Peer.heard_at = anyio.current_time()
                    payload = event.payload
                    self.heard[channel].append(payload["n"] if "n" in payload else payload["id"])
        except PondClientError as error:
            self.tally[f"ended {error}"] += 1

    async def cut_now_and_then(self) -> None:
        while not Peer.is_calm:
            await anyio.sleep(HOLD_SECONDS + self._random.expovariate(1 / CUT_SECONDS))
            if self._socket is not None and not Peer.is_calm:
                self.tally["cuts"] += 1
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    async def speak_now_and_then(self, tasks: anyio.abc.TaskGroup) -> None:
        while not Peer.is_calm:
            await anyio.sleep(self._random.expovariate(1 / SPEECH_SECONDS))
            if Peer.is_calm:
                return
            self._ids += 1
            tasks.start_soon(self._say, self._ids, self._random.choice([*self.joined.values()]))

    async def _say(self, number: int, room: Room) -> None:
        fate = self.calls[number] = [room.name, "open"]
        try:
            await room.call("say", {"id": number})
            fate[1] = "ok"
        except TimeoutError:
            fate[1] = "timeout"
        except PondClientError as error:
            fate[1] = str(error.code) if error.code else error.error.lower()

    def report(self) -> dict[str, Any]:
        return {
            "transport": self.transport,
            "tally": self.tally,
            "heard": self.heard,
            "told": self.told,
            "calls": self.calls,
            "isJoined": self.is_joined,
        }


async def main(
    url: str, first: int, count: int, seed: int, last: int, is_wild: bool, speaks: bool
) -> None:
    random = Random(seed)
    peers = [Peer(url, number, random) for number in range(first, first + count)]
    async with AsyncExitStack() as stack:
        for peer in peers:
            await stack.enter_async_context(peer.own_http)
            await stack.enter_async_context(peer)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for peer in peers:
            for channel in CHANNELS:
                tasks.start_soon(peer.listen, channel)
        await until(lambda: all(peer.is_joined for peer in peers))
        print("joined", flush=True)
        for peer in peers:
            if is_wild:
                tasks.start_soon(peer.cut_now_and_then)
            if speaks:
                tasks.start_soon(peer.speak_now_and_then, tasks)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        Peer.is_calm = True
        await until(lambda: not any(peer.is_calling for peer in peers))
        print("calm", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        with anyio.move_on_after(60):
            await until(
                lambda: (
                    all(peer.is_whole(last) for peer in peers)
                    and anyio.current_time() - Peer.heard_at > QUIET_SECONDS
                )
            )
        await anyio.sleep(0.5)
        print(json.dumps([peer.report() for peer in peers]), flush=True)
        tasks.cancel_scope.cancel()


async def until(holds: Any) -> None:
    while not holds():  # noqa: ASYNC110 - nothing tells
        await anyio.sleep(0.05)


if __name__ == "__main__":
    loop, address, *numbers = sys.argv[1:]
    one, many, seeded, end, wild, speaking = map(int, numbers)
    anyio.run(main, address, one, many, seeded, end, bool(wild), bool(speaking), backend=loop)
