"""The body of a request: read within its limits, or discarded."""

import math
from typing import Final

import anyio
from pondsocket.adapter import Refusal
from pondsocket_common import ErrorTypes, Headers

from pondsocket_asgi._scope import Receive, announced_length

# 1 MiB: what nginx passes on by default. A client that sends for longer than a second is not
# waiting for an answer.
_DISCARDED_BYTES: Final = 1_048_576
_DISCARDED_SECONDS: Final = 1.0


class Body:
    """The body of one request.

    Args:
        max_bytes: How long it may be; None: no limit.
        seconds: How long it may take to arrive; None: no limit.
    """

    def __init__(
        self, receive: Receive, headers: Headers, max_bytes: int | None, seconds: float | None
    ) -> None:
        self._receive = receive
        self._announced = announced_length(headers)
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._patience = _DISCARDED_BYTES
        self.is_unread = True

    async def read(self) -> bytes | Refusal | None:
        """Read the whole body. None if the peer disconnects before its end."""
        if self._max_bytes is not None and self._announced > self._max_bytes:
            return self._too_long()
        body: bytes | Refusal | None = None
        with anyio.move_on_after(self._seconds) as limit:
            body = await self._read()
        if limit.cancelled_caught:
            self._patience = 0
            text = f"The body was not there within {self._seconds:g} s."
            return Refusal(408, ErrorTypes.INVALID_MESSAGE, text)
        return body

    async def _read(self) -> bytes | Refusal | None:
        chunks: list[bytes] = []
        size = 0
        while self.is_unread:
            chunk = await self._next()
            if chunk is None:
                return None
            size += len(chunk)
            if self._max_bytes is not None and size > self._max_bytes:
                return self._too_long()
            chunks.append(chunk)
        return b"".join(chunks)

    async def discard(self) -> None:
        """Read and drop the rest of a body, for a limited time.

        A server that closes a connection with unread data resets it: the answer is lost, and a
        proxy in front answers 502 instead (RFC 9112, section 9.6).
        """
        if self._announced > (self._max_bytes or 0) + self._patience:
            return
        with anyio.move_on_after(min(_DISCARDED_SECONDS, self._seconds or math.inf)):
            while self.is_unread and self._patience > 0:
                self._patience -= len(await self._next() or b"")

    async def _next(self) -> bytes | None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.is_unread = False
            return None
        self.is_unread = message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    def _too_long(self) -> Refusal:
        text = f"A body may have {self._max_bytes} bytes."
        return Refusal(413, ErrorTypes.INVALID_MESSAGE, text)
