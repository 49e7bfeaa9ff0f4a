"""Which source files an event, a broadcast and a join go through.

`python -m tests.architecture.traces` prints them in the order in which they are first entered, each
with the functions that run. To follow such a journey, a reader has to open all of these files.

How it is counted. A file of `packages/*/src` counts once if code of any of its functions runs;
imports alone do not count. So a file that only defines types does not count, unless its code runs:
a property, or an `__init__`. What `dataclass` and `NamedTuple` generate is in no file. Each journey
is made twice, and the second one is counted: what is made once, for the first message of
a connection or the first member of a channel, is in none.

Two clients are connected through `PondASGIApp` on asyncio. The server's `send` may be called
without a writer, as uvicorn's.

* `event` begins when `receive` returns the text, and ends when `receive` is called again.
* `broadcast` is what runs within `ctx.broadcast` and, at the end of this turn of the loop, until
  `send` is called for another member.
* `join` begins when `receive` returns the text, and ends when `send` is called with the
  acknowledgement.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, Final, TypeAlias

from pondsocket import ConnectionContext, EventContext, History, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_common import ClientActions, ClientMessage, encode_client

from tests.servers import ROOT

ROOM: Final = "/room/1"
PAYLOAD: Final = {"text": "hi"}
_PACKAGES: Final = f"{ROOT / 'packages'}/"
_SCOPE: Final = {
    "type": "websocket",
    "path": "/socket",
    "query_string": b"",
    "headers": [(b"host", b"127.0.0.1"), (b"upgrade", b"websocket")],
}


class Trace:
    """The files of which code runs between `start` and `stop`, until `end`.

    Attributes:
        files: By the path below the folder of a package's sources: the functions, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, list[str]] = {}
        self._before: Any = None
        self._is_on = False
        self.has_ended = False

    def start(self) -> None:
        """Count from now on, unless it has ended."""
        if not self._is_on and not self.has_ended:
            self._is_on, self._before = True, sys.getprofile()
            sys.setprofile(self._count)

    def stop(self) -> None:
        """Count no more, until the next `start`."""
        if self._is_on:
            self._is_on = False
            sys.setprofile(self._before)

    def end(self) -> None:
        """Count no more."""
        self.stop()
        self.has_ended = True

    def _count(self, frame: FrameType, event: str, _argument: object) -> None:
        # The caller too: the session's reader only goes on when its `pull` returns.
        running = [frame.f_back, frame] if event == "call" else [frame] if event == "return" else []
        for each in running:
            if each is not None and each.f_code.co_filename.startswith(_PACKAGES):
                path, name = each.f_code.co_filename.partition("/src/")[2], each.f_code.co_qualname
                functions = self.files.setdefault(path, [])
                if name not in functions:
                    functions.append(name)


class Client:
    """A WebSocket as a server's app sees it."""

    def __init__(self) -> None:
        self._coming: deque[tuple[dict[str, Any], Trace | None]] = deque()
        self._came = asyncio.Event()
        self._ends_at_receive: Trace | None = None
        self._ends_at_send: Trace | None = None
        self._sent = asyncio.Event()
        self.feed({"type": "websocket.connect"})

    def feed(self, message: dict[str, Any], trace: Trace | None = None) -> None:
        """Have `receive` return this; `trace` starts as it does."""
        self._coming.append((message, trace))
        self._came.set()

    def say(self, action: ClientActions, event: str, trace: Trace | None = None) -> None:
        """Send a message of the client; `trace` starts with it, and ends with its handling."""
        text = encode_client(ClientMessage(action, event, ROOM, "0" * 32, PAYLOAD)).decode()
        self._ends_at_receive = trace
        self.feed({"type": "websocket.receive", "text": text}, trace)

    def expect(self, trace: Trace) -> None:
        """End `trace` at the next `send`."""
        self._ends_at_send = trace

    async def receive(self) -> Mapping[str, Any]:
        """Return the next message. The app's `receive`."""
        if not self._coming and self._ends_at_receive is not None:
            self._ends_at_receive.end()
        while not self._coming:
            self._came.clear()
            await self._came.wait()
        message, trace = self._coming.popleft()
        if trace is not None:
            trace.start()
        return message

    async def send(self, _message: Mapping[str, Any]) -> None:
        """End the trace that waits for this. The app's `send`."""
        if self._ends_at_send is not None:
            self._ends_at_send.end()

    # The app knows by its module that it may be called without a writer.
    send.__module__ = "uvicorn.protocols.websockets"


class Room:
    """A channel with two members."""

    def __init__(self, history: History | None) -> None:
        self.ann, self.bob = Client(), Client()
        self._trace = Trace()
        pond = PondSocket()
        endpoint = pond.create_endpoint("/socket", self._connect)
        lobby = endpoint.create_channel("/room/:id", self._join, history=history)
        lobby.on_message("nothing", self._nothing)
        lobby.on_message("say", self._say)
        self.app = PondASGIApp(pond, drain_on_signals=False)

    async def event(self, trace: Trace) -> None:
        """Send an event whose handler does nothing."""
        self.ann.say(ClientActions.BROADCAST, "nothing", trace)
        await _ended(trace)

    async def broadcast(self, trace: Trace) -> None:
        """Broadcast to all from a handler."""
        self._trace = trace
        self.bob.expect(trace)
        self.ann.say(ClientActions.BROADCAST, "say")
        await _ended(trace)

    async def join(self, trace: Trace) -> None:
        """Leave and join again: the other member keeps the channel."""
        self.bob.say(ClientActions.LEAVE_CHANNEL, "leave")
        await _turns()
        self.bob.expect(trace)
        self.bob.say(ClientActions.JOIN_CHANNEL, "join", trace)
        await _ended(trace)

    async def _connect(self, ctx: ConnectionContext) -> None:
        ctx.accept()

    async def _join(self, ctx: JoinContext) -> None:
        await ctx.accept()

    async def _nothing(self, ctx: EventContext) -> None: ...

    async def _say(self, ctx: EventContext) -> None:
        # Called just before what the broadcast leaves to the end of this turn, and so without what
        # the session does after the handler.
        asyncio.get_running_loop().call_soon(self._trace.start)
        self._trace.start()
        await ctx.broadcast("said", PAYLOAD)
        self._trace.stop()


Journey: TypeAlias = Callable[[Room, Trace], Awaitable[None]]

JOURNEYS: Final[Mapping[str, tuple[Journey, History | None]]] = {
    "event": (Room.event, None),
    "broadcast": (Room.broadcast, None),
    "broadcast, with a history": (Room.broadcast, History()),
    "join": (Room.join, None),
    "join, with a history": (Room.join, History()),
}


def files_of(journey: str) -> dict[str, list[str]]:
    """The files that a journey of `JOURNEYS` goes through, and the functions in each."""
    make, history = JOURNEYS[journey]

    async def twice() -> dict[str, list[str]]:
        async with _open(history) as room:
            await make(room, Trace())
            trace = Trace()
            await make(room, trace)
            return trace.files

    return asyncio.run(twice())


@asynccontextmanager
async def _open(history: History | None) -> AsyncIterator[Room]:
    room = Room(history)
    async with asyncio.TaskGroup() as tasks:
        for client in (room.ann, room.bob):
            tasks.create_task(room.app(_SCOPE, client.receive, client.send))
            client.say(ClientActions.JOIN_CHANNEL, "join")
        await _turns()
        yield room
        for client in (room.ann, room.bob):
            client.feed({"type": "websocket.disconnect", "code": 1000})


async def _ended(trace: Trace) -> None:
    async with asyncio.timeout(5):
        while not trace.has_ended:  # noqa: ASYNC110 - it must not be told from within the journey
            await asyncio.sleep(0)


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def described(journey: str, files: Mapping[str, list[str]]) -> str:
    """A line for a journey, and one for each file."""
    lines = [f"  {path:46} {', '.join(functions)}" for path, functions in files.items()]
    return "\n".join([f"{journey}: {len(files)} files", *lines])


def main() -> None:
    """Print the journeys."""
    for journey in JOURNEYS:
        print(described(journey, files_of(journey)), end="\n\n")


if __name__ == "__main__":
    main()
