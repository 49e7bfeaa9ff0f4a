"""The base class of a test's WebSocket and its event stream."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self, cast

from pondsocket_common import (
    POND,
    ClientActions,
    ClientCodec,
    ClientMessage,
    Headers,
    ServerMessage,
    dump_json,
    encode_server,
    fresh_id,
)

from pondsocket_asgi._scope import Scope

from ._running import ASGIApp, RunningApp


def response_headers(message: Mapping[str, Any]) -> Headers:
    """Return the headers of a response's start, or of an accept."""
    pairs = message.get("headers") or ()
    return Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)


class Outbox(list[dict[str, Any]]):
    """The messages that were not yet received, oldest first.

    Args:
        receive: Waits for the next message, and takes it.
    """

    def __init__(self, receive: Callable[..., Awaitable[dict[str, Any]]]) -> None:
        super().__init__()
        self._receive = receive

    async def get(self, *, wait: float = 1.0) -> dict[str, Any]:
        """Wait for the next message, and take it; see `Session.receive_message`."""
        return await self._receive(wait=wait)


class Session(ABC):
    """The base class of both transports' sessions.

    Args:
        codec: The wire format that the app is expected to speak. Messages are received in the form
            of the pond format, whatever it is.

    Attributes:
        status: The HTTP status of the response: 101 for an accepted WebSocket; 403 for one that
            was closed before it was accepted, as servers send it; None before the response.
        headers: The headers of the response.
        body: The body of a refusal.
        accepted: Whether the connection was opened.
        closed: Whether the app has closed it, or the test has left.
        connection_id: The secret of this connection; empty until it is known.
        outbox: The ASGI messages that the app has sent and the test has not yet received: a list,
            whose `await outbox.get()` waits for the next. The accept, response headers and an HTTP
            refusal do not pass through it.
    """

    _lost: Mapping[str, object]
    """What the app receives once the connection is lost."""

    def __init__(self, app: ASGIApp, scope: Scope, codec: ClientCodec) -> None:
        self._codec = codec
        self.status: int | None = None
        self.headers: Headers = Headers()
        self.body = b""
        self.accepted: bool = False
        self.closed: bool = False
        self.connection_id: str = ""
        self.outbox: Outbox = Outbox(self.receive_message)
        self._running = RunningApp(app, scope, self._sent)

    def _respond(self, status: int, message: dict[str, Any]) -> None:
        """Note the status of the response, and the headers in a message of the app."""
        self.status, self.headers = status, response_headers(message)

    def _accept(self, connection_id: str) -> None:
        """Note that the connection was opened."""
        self.accepted, self.connection_id = True, connection_id

    def _end(self, status: int) -> None:
        """Note that the app has ended the connection; the status counts if there was none."""
        self.closed, self.status = True, self.status or status

    @abstractmethod
    def _sent(self, message: dict[str, Any]) -> None: ...

    @abstractmethod
    async def send_text(self, text: str | bytes) -> None:
        """Send one message as it is."""

    @abstractmethod
    async def receive_json(self, *, wait: float = 1.0) -> dict[str, Any]:
        """Return the next message, parsed."""

    async def send_json(self, message: object) -> None:
        """Send one message as JSON."""
        await self.send_text(dump_json(message).decode())

    async def send_client_message(
        self,
        *,
        action: str,
        channel_name: str,
        event: str,
        payload: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        confirm: bool = False,
    ) -> str:
        """Send a message of the protocol and return its request id.

        Args:
            confirm: Ask that an event is answered even if its handler has no reply.
        """
        request_id = request_id or fresh_id()
        # Not checked: a test may send an action that there is not.
        known = cast(ClientActions, action)
        message = ClientMessage(
            known, event, channel_name, request_id, payload or {}, confirm=confirm
        )
        await self.send_message(message)
        return request_id

    async def send_message(self, message: ClientMessage) -> None:
        """Send a message of the protocol, in the session's wire format."""
        await self.send_text(self._codec.encode_client(message).decode())

    def _parsed(self, data: str | bytes) -> dict[str, Any]:
        if self._codec is not POND:
            data = encode_server(self._codec.decode_server(data))
        message: dict[str, Any] = json.loads(data)
        return message

    def _decoded(self, data: str | bytes) -> ServerMessage:
        return self._codec.decode_server(data)

    async def receive_message(self, *, wait: float = 1.0) -> dict[str, Any]:
        """Return the next ASGI message of the app.

        Raises:
            TimeoutError: No message came within `wait` seconds.
            ConnectionError: The connection is closed, and all messages were received.
        """
        await self._running.wait_until(lambda: self.outbox or self.closed, "message", wait)
        if not self.outbox:
            raise ConnectionError(f"{self._ending()}; {self._running.what_came()}")
        return self.outbox.pop(0)

    async def receive_event_named(
        self, name: str, *, wait: float = 1.0, attempts: int = 10
    ) -> dict[str, Any]:
        """Return the next message whose event is `name`, among the next `attempts` messages.

        Raises:
            TimeoutError: It was not among them, or one of them took longer than `wait` seconds.
        """
        others: list[str] = []
        for _ in range(attempts):
            try:
                message = await self.receive_json(wait=wait)
            except (TimeoutError, ConnectionError) as error:
                came = ", ".join(others) or "nothing"
                raise type(error)(f"No event {name!r}, but {came}. {error}") from error
            if message.get("event") == name:
                return message
            others.append(repr(message.get("event")))
        raise TimeoutError(f"No event {name!r} among {attempts}, but {', '.join(others)}.")

    @abstractmethod
    def take_messages(self) -> list[ServerMessage]:
        """Receive and return all messages that have come, without waiting."""

    async def wait_until(self, ready: Callable[[], object], what: str, *, wait: float) -> None:
        """Return when `ready()` holds, which is asked whenever something has come.

        Args:
            what: What is waited for, for the error.

        Raises:
            TimeoutError: It does not hold after `wait` seconds.
            BaseException: What the app has raised.
        """
        await self._running.wait_until(ready, what, wait)

    def stop_reading(self, after: int = 0) -> None:
        """Make the app's sends wait, as for a peer whose buffers are full.

        Args:
            after: How many of them do not wait yet.
        """
        self._running.stall(after)

    def resume_reading(self) -> None:
        """Let the app's sends go on."""
        self._running.stall(math.inf)

    def lose(self) -> None:
        """Lose the connection, without a close; what the app sends then is lost."""
        self._running.leave(self._lost)
        self.closed = True

    def lose_within_next(self) -> None:
        """Lose the connection while the next message is on its way: half of it may come."""
        self._running.cut(self._lose_within)

    def _lose_within(self, message: dict[str, Any]) -> None:  # noqa: ARG002
        self.lose()

    @abstractmethod
    async def disconnect(self) -> None:
        """Leave, and wait for the app to end."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()

    def _check_accepted(self) -> None:
        if self.closed and not self.accepted:
            raise ConnectionError(f"{self._ending()}; nothing can be sent.")

    def cancel(self) -> None:
        """Cancel the app's call, as a server does at its end."""
        self._running.cancel()

    async def wait_ended(self) -> None:
        """Wait for the app's call to end by itself, or by `cancel`."""
        await self._running.finish()

    async def _leave(self, goodbye: Mapping[str, object]) -> None:
        self._running.leave(goodbye)
        try:
            await self._running.finish()
        finally:
            self.closed = True

    def _ending(self) -> str:
        if self.accepted:
            return "The connection is closed"
        return f"The connection was refused with status {self.status}"

    def _unexpected(self, message: Mapping[str, Any]) -> RuntimeError:
        state = "closed" if self.closed else "open" if self.status else "connecting"
        return RuntimeError(f"The app sent {message['type']!r} to a connection that is {state}.")
