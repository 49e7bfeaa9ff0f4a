"""A test's WebSocket."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pondsocket_common import ClientCodec, Connected, InvalidMessage, ServerMessage

from pondsocket_asgi._scope import Scope

from ._running import ASGIApp
from ._session import Session


class WebSocketSession(Session):
    """One WebSocket.

    Attributes:
        close_code: The code that the app closed with; None before it closes.
        close_reason: The reason that the app gave.
        subprotocol: The subprotocol that the app accepted.
    """

    _lost = {"type": "websocket.disconnect", "code": 1006, "reason": ""}  # noqa: RUF012 - never changed

    def __init__(self, app: ASGIApp, scope: Scope, codec: ClientCodec) -> None:
        super().__init__(app, scope, codec)
        self.close_code: int | None = None
        self.close_reason: str = ""
        self.subprotocol: str | None = None

    async def connect(self) -> None:
        """Open the WebSocket. Returns when the app has accepted or refused it."""
        self._running.feed({"type": "websocket.connect"})
        self._running.start()
        await self._running.answered(lambda: self.accepted or self.closed, "accept or refusal")

    def _sent(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "websocket.accept" if self.status is None:
                self._respond(101, message)
                self._accept("")
                self.subprotocol = message.get("subprotocol")
            case "websocket.send" if self.accepted and not self.closed:
                self._learn_connection_id(message)
                self.outbox.append(message)
            case "websocket.close" if not self.closed and (self.accepted or not self.status):
                self._end(403)
                self.close_code = message.get("code", 1000)
                self.close_reason = message.get("reason") or ""
                self.outbox.append(message)
                self._running.feed({"type": "websocket.disconnect", "code": self.close_code})
            case "websocket.http.response.start" if self.status is None:
                self._respond(message["status"], message)
            case "websocket.http.response.body" if self.status and not (
                self.accepted or self.closed
            ):
                self.body += message["body"]
                if not message.get("more_body", False):
                    self._end(403)
            case _:
                raise self._unexpected(message)

    def _learn_connection_id(self, message: Mapping[str, Any]) -> None:
        if self.connection_id:
            return
        with suppress(InvalidMessage):  # a test may let the app send anything
            payload = self._codec.decode_server(message.get("text") or "").payload
            if isinstance(payload, Connected):
                self._accept(payload.connection_id)

    async def send_text(self, text: str | bytes) -> None:
        """Send one frame: text, or binary where `text` is bytes.

        Raises:
            ConnectionError: The app has refused the connection.
        """
        self._check_accepted()
        kind = "bytes" if isinstance(text, bytes) else "text"
        self._running.feed({"type": "websocket.receive", kind: text})

    async def receive_json(self, *, wait: float = 1.0) -> dict[str, Any]:
        """Return the next frame, parsed.

        Raises:
            TimeoutError: No frame came within `wait` seconds.
            ConnectionError: The app has closed; the close message stays in the outbox.
        """
        message = await self.receive_message(wait=wait)
        if message["type"] == "websocket.close":
            self.outbox.insert(0, message)
            raise ConnectionError(self._ending())
        text = message.get("text")
        return self._parsed(message["bytes"] if text is None else text)

    def take_messages(self) -> list[ServerMessage]:
        """Receive and return all messages that have come, without waiting. A close stays."""
        frames = [each for each in self.outbox if each["type"] == "websocket.send"]
        self.outbox[:] = [each for each in self.outbox if each["type"] != "websocket.send"]
        texts = [each.get("text") for each in frames]
        return [
            self._decoded(each["bytes"] if text is None else text)
            for each, text in zip(frames, texts, strict=True)
        ]

    async def disconnect(self, code: int = 1000) -> None:
        """Leave, and wait for the app to end."""
        await self._leave({"type": "websocket.disconnect", "code": code, "reason": ""})

    def _ending(self) -> str:
        if self.close_code is None:
            return super()._ending()
        verb = "closed" if self.accepted else "refused"
        return f"The app {verb} this WebSocket with {self.close_code} {self.close_reason!r}"
