"""One connection to Redis: requests and their replies in order, and what is pushed in between.

The parser is hiredis; all of it is in one turn of the loop for each read, so a hundred messages
cost one wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import anyio
import hiredis
from anyio.abc import ByteStream

from pondsocket.backplane._errors import LinkLost

_READ_BYTES: Final = 262_144
_ENDED: Final = "the connection has ended"
# What Redis pushes instead of a reply, one for each channel of the command.
_CONFIRMATIONS: Final = (b"subscribe", b"unsubscribe")

_BROKEN: Final = (
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    OSError,
)

Argument: TypeAlias = str | bytes | int
OnPush: TypeAlias = Callable[[Sequence[Any]], None]


class ReplyError(Exception):
    """Redis has answered with an error."""


class _Request:
    """What was sent, and waits for its replies, or for what is pushed in place of them.

    Attributes:
        missing: How many are still to come.
        is_pushed: Whether they are pushed; then there is one reply only if it is an error.
    """

    __slots__ = ("done", "is_pushed", "lost", "missing", "replies")

    def __init__(self, missing: int = 1, *, is_pushed: bool = False) -> None:
        self.missing = missing
        self.is_pushed = is_pushed
        self.done = anyio.Event()
        self.replies: list[Any] = []
        self.lost = ""

    async def wait(self) -> list[Any]:
        await self.done.wait()
        if self.lost:
            raise LinkLost(self.lost)
        for reply in self.replies:
            if isinstance(reply, hiredis.ReplyError):
                raise ReplyError(str(reply))
        return self.replies

    def end(self, lost: str = "") -> None:
        self.lost = lost
        self.done.set()


class Link:
    """A connection that is open.

    Args:
        on_push: Called with what is pushed: pub/sub messages, and confirmations.

    Attributes:
        read_at: When something was read, by the loop's clock.
        scope: What `cut` cancels: the tasks of the link.
        fault: Why it was cut.
    """

    def __init__(self, stream: ByteStream, on_push: OnPush) -> None:
        self._stream = stream
        self._on_push = on_push
        self._reader = hiredis.Reader()
        self._requests: deque[_Request] = deque()
        self._unsent: list[bytes] = []
        self._has_unsent = anyio.Event()
        self._is_over = False
        self.fault = ""
        self.scope: anyio.CancelScope | None = None
        self.read_at = anyio.current_time()

    def subscribe(self, channels: Sequence[str]) -> Awaitable[object]:
        """Hear of channels. Await it to know that Redis has confirmed them.

        Raises, when it is awaited:
            ReplyError: Redis refuses it.
            LinkLost: The connection has ended before.
        """
        return self._send(_Request(len(channels), is_pushed=True), ("SUBSCRIBE", *channels)).wait()

    def unsubscribe(self, channels: Sequence[str]) -> None:
        """Hear of channels no more."""
        self._send(_Request(len(channels), is_pushed=True), ("UNSUBSCRIBE", *channels))

    async def call(self, *arguments: Argument) -> Any:
        """Send a command. Return its reply.

        Raises:
            ReplyError: It is an error.
            LinkLost: The connection has ended before it.
        """
        (reply,) = await self._send(_Request(), arguments).wait()
        return reply

    def call_all(self, commands: Sequence[tuple[Argument, ...]]) -> Awaitable[list[Any]]:
        """Send commands together. Await it for their replies.

        Raises:
            LinkLost: The connection has ended; nothing is sent.

        Raises, when it is awaited:
            ReplyError: One of them is an error.
            LinkLost: The connection has ended before them.
        """
        return self._send(_Request(len(commands)), *commands).wait()

    def _send(self, request: _Request, *commands: tuple[Argument, ...]) -> _Request:
        if self._is_over:
            raise LinkLost(_ENDED)
        self._unsent += map(hiredis.pack_command, commands)  # type: ignore[arg-type]
        self._requests.append(request)
        self._has_unsent.set()
        return request

    async def write(self) -> None:
        """Write what is sent, until cancelled. What waits leaves together.

        Raises:
            LinkLost: The connection has ended.
        """
        while True:
            await self._has_unsent.wait()
            self._has_unsent = anyio.Event()
            unsent, self._unsent = self._unsent, []
            try:
                await self._stream.send(b"".join(unsent))
            except _BROKEN as broken:
                raise LinkLost(_ENDED) from broken

    async def read(self) -> None:
        """Read until the connection ends.

        Raises:
            LinkLost: It has ended, or what comes is not Redis.
        """
        reader = self._reader
        while True:
            try:
                data = await self._stream.receive(_READ_BYTES)
            except _BROKEN as broken:
                raise LinkLost("Redis has closed the connection") from broken
            self.read_at = anyio.current_time()
            try:
                reader.feed(data)
                while (reply := reader.gets()) is not False:
                    self._take(reply)
            except hiredis.ProtocolError as error:
                raise LinkLost(f"this is not Redis: {error}") from error

    def _take(self, reply: Any) -> None:
        requests = self._requests
        is_push = isinstance(reply, hiredis.PushNotification)
        if is_push and reply[0] not in _CONFIRMATIONS:
            self._on_push(reply)
            return
        if not requests:  # for instance because it has too many clients
            raise LinkLost(str(reply))
        request = requests[0]
        request.replies.append(reply)
        request.missing -= 1
        if not request.missing or request.is_pushed != is_push:
            requests.popleft().end()

    def cut(self, reason: str) -> None:
        """End the connection."""
        self.fault = self.fault or reason
        if self.scope is not None:
            self.scope.cancel()

    def end(self) -> None:
        """Let all go on that wait for replies."""
        self._is_over = True
        while self._requests:
            self._requests.popleft().end(_ENDED)
