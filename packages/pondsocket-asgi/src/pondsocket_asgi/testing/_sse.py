"""A test's stream of Server-Sent Events."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from pondsocket_common import CONNECTION_ID_HEADER, ClientCodec, ServerMessage, SSEDecoder

from pondsocket_asgi._scope import Scope

from ._running import ASGIApp
from ._session import Session


class SSESession(Session):
    """One stream, and the POSTs that belong to it.

    Attributes:
        posted: Status and body of the responses to `send_text` and the methods that call it.
    """

    _lost = {"type": "http.disconnect"}  # noqa: RUF012 - never changed

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        push: Callable[[str, object], Awaitable[tuple[int, bytes]]],
        codec: ClientCodec,
    ) -> None:
        super().__init__(app, scope, codec)
        self.posted: list[tuple[int, bytes]] = []
        self._push = push
        self._decoder = SSEDecoder()
        self._events: deque[str] = deque()

    @property
    def last_event_id(self) -> str:
        """What a browser would send as `Last-Event-ID`, after what was received so far."""
        return self._decoder.last_event_id

    async def connect(self) -> None:
        """Request the stream. Returns when its headers, or the whole refusal, have come."""
        self._running.feed({"type": "http.request", "body": b"", "more_body": False})
        self._running.start()
        await self._running.answered(lambda: self.accepted or self.closed, "response")

    def _sent(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "http.response.start" if self.status is None:
                self._respond(message["status"], message)
                if self.status == 200:
                    self._accept(self.headers.get(CONNECTION_ID_HEADER, ""))
            case "http.response.body" if self.status and not self.closed:
                if self.accepted and message.get("body"):
                    self.outbox.append(message)
                self.body += b"" if self.accepted else message.get("body", b"")
                if not message.get("more_body", False):
                    self.closed = True
                    self._running.feed({"type": "http.disconnect"})
            case _:
                raise self._unexpected(message)

    async def send_text(self, text: str | bytes) -> None:
        """POST one message. The response is added to `posted`.

        Raises:
            ConnectionError: The app has refused the connection.
        """
        self._check_accepted()
        body = text.encode() if isinstance(text, str) else text
        self.posted.append(await self._push(self.connection_id, body))

    async def receive_frame_bytes(self, *, wait: float = 1.0) -> bytes:
        """Return the next chunk of the stream as written: a comment, or one event or more."""
        chunk: bytes = (await self.receive_message(wait=wait))["body"]
        return chunk

    async def receive_event(self, *, wait: float = 1.0) -> dict[str, Any]:
        """Return the data of the next event, parsed. Skips comments and blocks without data.

        Raises:
            TimeoutError: No event came within `wait` seconds.
            ConnectionError: The stream has ended.
        """
        until = anyio.current_time() + wait
        while not self._events:
            left = max(0.0, until - anyio.current_time())
            for event in self._decoder.feed(await self.receive_frame_bytes(wait=left)):
                self._events.append(event.data)
        return self._parsed(self._events.popleft())

    async def receive_json(self, *, wait: float = 1.0) -> dict[str, Any]:
        """Return the data of the next event: `receive_event`, by its name on a WebSocket."""
        return await self.receive_event(wait=wait)

    def take_messages(self) -> list[ServerMessage]:
        """Receive and return all messages that have come, without waiting."""
        for message in self.outbox:
            self._events.extend(event.data for event in self._decoder.feed(message["body"]))
        self.outbox.clear()
        taken = [self._decoded(data) for data in self._events]
        self._events.clear()
        return taken

    def _lose_within(self, message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        self.outbox.append({**message, "body": body[: len(body) // 2]})
        self.lose()

    async def disconnect(self) -> None:
        """Drop the stream, and wait for the app to end."""
        await self._leave(self._lost)
