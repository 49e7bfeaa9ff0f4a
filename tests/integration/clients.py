"""Real clients, written against the protocol alone: WebSocket by `websockets`, SSE by `httpx`.

Messages are plain dicts as the JSON says them, so that a test sees every field that came.
"""

import asyncio
import json
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias

import httpx
import websockets
from pondsocket_common import SSEDecoder, fresh_id, sse_comment
from websockets.asyncio.client import ClientConnection

Message: TypeAlias = dict[str, Any]
Transport: TypeAlias = Literal["websocket", "sse"]

TRANSPORTS: Final[tuple[Transport, ...]] = ("websocket", "sse")
# Never reached by a server that works, however busy the machine.
WAIT_SECONDS: Final = 10.0


class Client(ABC):
    """One connection. Everything that came and was not asked for yet is in `unread`."""

    def __init__(self) -> None:
        self.unread: list[Message] = []
        self.closed = False
        self.hello: Message = {}
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start reading; returns when the first message is there."""
        self._reader = asyncio.create_task(self._read())
        self.hello = await self.receive()

    async def _read(self) -> None:
        try:
            async for text in self.texts():
                self.unread.append(json.loads(text))
                self._news.set()
        finally:
            self.closed = True
            self._news.set()

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            AssertionError: None came in time, or the connection ended.
        """
        return await self._first(lambda _message: True, "a message")

    async def receive_event(self, action: str, event: str) -> Message:
        """Return the next message of this action and event; others stay unread."""
        return await self._first(
            lambda message: (message["action"], message["event"]) == (action, event),
            f"{action} / {event}",
        )

    async def answer(self, request_id: str) -> Message:
        """Return the next message with this request id; others stay unread."""
        return await self._first(
            lambda message: bool(message["requestId"] == request_id), f"an answer to {request_id}"
        )

    async def wait_closed(self) -> None:
        """Wait until the server has ended the connection."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.closed:
                await self._changed()

    async def _first(self, wanted: Callable[[Message], bool], what: str) -> Message:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    for index, message in enumerate(self.unread):
                        if wanted(message):
                            return self.unread.pop(index)
                    if self.closed:
                        break
                    await self._changed()
        except TimeoutError:
            pass
        state = "closed" if self.closed else "open"
        raise AssertionError(f"{what} did not come; {state}; instead: {self.unread}") from None

    async def _changed(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def send(
        self,
        action: str,
        channel_name: str,
        event: str,
        payload: Message | None = None,
        **more: object,
    ) -> str:
        """Send one message; gives its request id."""
        message = envelope(action, channel_name, event, payload, **more)
        await self.send_raw(json.dumps(message).encode())
        request_id: str = message["requestId"]
        return request_id

    async def join(self, channel_name: str, params: Message | None = None) -> Message:
        """Ask to join; gives the answer."""
        return await self.answer(await self.send("JOIN_CHANNEL", channel_name, "join", params))

    async def leave(self, channel_name: str) -> Message:
        """Leave; gives the answer."""
        return await self.answer(await self.send("LEAVE_CHANNEL", channel_name, "leave"))

    async def call(self, channel_name: str, event: str, payload: Message | None = None) -> Message:
        """Send an event; gives what answers it."""
        return await self.answer(await self.send("BROADCAST", channel_name, event, payload))

    async def stop(self) -> None:
        """End reading."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    @abstractmethod
    def texts(self) -> AsyncIterator[str | bytes]:
        """Yield the JSON texts that the server sends, until the connection ends."""

    @abstractmethod
    async def send_raw(self, data: bytes) -> None:
        """Send one message as it stands, well-formed or not."""

    @abstractmethod
    async def close(self) -> None:
        """End the connection as a good client does."""

    @abstractmethod
    async def stall(self) -> None:
        """Read no more, and stay."""

    @abstractmethod
    async def abort(self, *, reset: bool) -> None:
        """End the connection without a close: by a reset, or else by an end of file."""


class WebSocketClient(Client):
    """A client over WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__()
        self.connection = connection

    @property
    def close_code(self) -> int | None:
        """The server's close code, once it is closed."""
        return self.connection.close_code

    async def texts(self) -> AsyncIterator[str | bytes]:
        """Yield the frames."""
        try:
            while True:
                yield await self.connection.recv()
        except websockets.ConnectionClosed:
            pass

    async def send_raw(self, data: bytes) -> None:
        """Send a text frame where it is text, else a binary one."""
        try:
            await self.connection.send(data.decode())
        except UnicodeDecodeError:
            await self.connection.send(data)

    async def close(self) -> None:
        """End it by the closing handshake."""
        await self.connection.close()

    async def stall(self) -> None:
        """Let the socket fill up."""
        self.connection.transport.pause_reading()

    async def abort(self, *, reset: bool) -> None:
        """End it without a closing handshake."""
        if reset:
            reset_on_close(self.connection.transport.get_extra_info("socket"))
        self.connection.transport.abort()
        await self.connection.wait_closed()


class SSEClient(Client):
    """A client over server-sent events and POST."""

    def __init__(
        self, http: httpx.AsyncClient, line: httpx.AsyncClient, response: httpx.Response
    ) -> None:
        super().__init__()
        self.http = http
        self.response = response
        self._line = line
        self._reading = asyncio.Event()
        self._reading.set()
        self.url = response.request.url
        self.connection_id = response.headers["x-connection-id"]
        self.event_names: list[str] = []
        self.comments = 0
        self.retry_ms: int | None = None
        self.last_event_id = ""
        self.is_torn = False

    async def texts(self) -> AsyncIterator[str | bytes]:
        """Yield the data of the events."""
        decoder = SSEDecoder()
        try:
            # As text, since proxies compress it.
            async for chunk in self.response.aiter_bytes():
                self.comments += chunk.count(sse_comment())
                for event in decoder.feed(chunk):
                    self.event_names.append(event.event)
                    yield event.data
                self.retry_ms = decoder.retry
                self.last_event_id = decoder.last_event_id
                await self._reading.wait()
        except (httpx.ReadError, httpx.RemoteProtocolError, httpx.StreamClosed):
            self.is_torn = True

    def speak_alone(self) -> None:
        """Have POSTs not wait for those of other clients."""
        self.http = self._line

    async def post(
        self, body: bytes, *, content_type: str = "application/json", **headers: str
    ) -> httpx.Response:
        """POST a body; gives the response."""
        given = {"x-connection-id": self.connection_id, "content-type": content_type, **headers}
        return await self.http.post(self.url, content=body, headers=given)

    async def post_json(self, value: object) -> httpx.Response:
        """POST a message or an array of them."""
        return await self.post(json.dumps(value).encode())

    async def delete(self) -> httpx.Response:
        """DELETE the connection."""
        return await self.http.delete(self.url, headers={"x-connection-id": self.connection_id})

    async def send_raw(self, data: bytes) -> None:
        """Send it by POST; a refused one has its ERROR on the stream."""
        await self.post(data)

    async def close(self) -> None:
        """End it by DELETE, and read to the end."""
        if not self.closed:
            await self.delete()
            await self.wait_closed()
        await self._hang_up()

    async def stall(self) -> None:
        """Let the socket fill up: httpx reads from it when it is asked for more."""
        self._reading.clear()

    async def abort(self, *, reset: bool) -> None:
        """End it by closing the socket."""
        if reset:
            stream = self.response.extensions["network_stream"]
            reset_on_close(stream.get_extra_info("socket"))
        await self.stop()
        await self._hang_up()

    async def _hang_up(self) -> None:
        await self.response.aclose()
        await self._line.aclose()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again and again until it is so.

    Raises:
        AssertionError: It did not become so in time.
    """
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def envelope(
    action: str, channel_name: str, event: str, payload: Message | None = None, **more: object
) -> Message:
    """Return one message of a client."""
    return {
        "action": action,
        "event": event,
        "channelName": channel_name,
        "requestId": fresh_id(),
        "payload": payload or {},
        **more,
    }


def frame(action: str, event: str, channel_name: str, request_id: str, payload: Message) -> Message:
    """Return one whole message of a server: nothing else may be in it."""
    return {
        "action": action,
        "event": event,
        "channelName": channel_name,
        "requestId": request_id,
        "payload": payload,
    }


def not_found(name: str, request_id: str, message: str) -> Message:
    """Return the answer where no lobby serves a channel of this name."""
    payload = {"channel": name, "code": 404, "message": message}
    return frame("SYSTEM", "NOT_FOUND", name, request_id, payload)


def reset_on_close(sock: socket.socket) -> None:
    """Have the socket's end be a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
