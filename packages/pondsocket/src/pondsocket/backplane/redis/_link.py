"""One connection to Redis: requests and their replies in order, and what is pushed in between.

The parser is hiredis; all of it is in one turn of the loop for each read, so a hundred messages
cost one wait.
"""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import anyio
import hiredis
from anyio.abc import ByteStream

from pondsocket.backplane._errors import LinkLost

_log: Final = logging.getLogger("pondsocket.cluster")
_READ_BYTES: Final = 262_144

Argument: TypeAlias = str | bytes | int
OnPush: TypeAlias = Callable[[Sequence[Any]], None]


class ReplyError(Exception):
    """Redis has answered with an error."""


class _Request:
    __slots__ = ("done", "reply")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.reply: Any = None


class Link:
    """A connection that is open.

    Args:
        on_push: Called with what is pushed: pub/sub messages, and confirmations.

    Attributes:
        read_at: When something was read, by the loop's clock.
        scope: What `cut` cancels: the tasks of the link.
    """

    def __init__(self, stream: ByteStream, on_push: OnPush) -> None:
        self._stream = stream
        self._on_push = on_push
        self._reader = hiredis.Reader()
        self._requests: deque[_Request] = deque()
        self._unsent: list[bytes] = []
        self._has_unsent = anyio.Event()
        self._is_over = False
        self.scope: anyio.CancelScope | None = None
        self.read_at = anyio.current_time()

    def send(self, *arguments: Argument) -> None:
        """Send a command that has no reply of its own, such as SUBSCRIBE in RESP3."""
        self._unsent.append(hiredis.pack_command(arguments))  # type: ignore[arg-type]
        self._has_unsent.set()

    async def call(self, *arguments: Argument) -> Any:
        """Send a command. Return its reply.

        Raises:
            ReplyError: It is an error.
            LinkLost: The connection has ended before it.
        """
        if self._is_over:
            raise LinkLost("The connection has ended.")
        request = _Request()
        self._requests.append(request)
        self.send(*arguments)
        await request.done.wait()
        reply = request.reply
        if isinstance(reply, hiredis.ReplyError):
            raise ReplyError(str(reply))
        if isinstance(reply, LinkLost):
            raise reply
        return reply

    async def write(self) -> None:
        """Write what is sent, until cancelled. What waits leaves together."""
        while True:
            await self._has_unsent.wait()
            self._has_unsent = anyio.Event()
            unsent, self._unsent = self._unsent, []
            await self._stream.send(b"".join(unsent))

    async def read(self) -> None:
        """Read until the connection ends.

        Raises:
            LinkLost: It has ended.
        """
        reader, requests = self._reader, self._requests
        while True:
            try:
                data = await self._stream.receive(_READ_BYTES)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError) as end:
                raise LinkLost("the engine has closed the connection") from end
            self.read_at = anyio.current_time()
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                elif requests:
                    request = requests.popleft()
                    request.reply = reply
                    request.done.set()

    def cut(self) -> None:
        """End the connection."""
        if self.scope is not None:
            self.scope.cancel()

    def end(self) -> None:
        """Let all go on that wait for replies."""
        self._is_over = True
        while self._requests:
            request = self._requests.popleft()
            request.reply = LinkLost("The connection has ended.")
            request.done.set()


async def connect(
    host: str, port: int, path: str, tls: ssl.SSLContext | None, seconds: float
) -> ByteStream:
    """Open a connection.

    Raises:
        OSError, TimeoutError: It cannot be opened.
    """
    with anyio.fail_after(seconds):
        if path:
            return await anyio.connect_unix(path)
        if tls is None:
            return await anyio.connect_tcp(host, port)
        return await anyio.connect_tcp(host, port, ssl_context=tls, tls_standard_compatible=False)
