"""The two transports, over httpx2: WebSocket, and Server-Sent Events with POSTs.

All errors of httpx2 and of what is below it become `Ended` here. Timeouts are the caller's, who
cancels: only the end of a connection has one of its own.
"""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from os import urandom
from typing import Any, Final, NamedTuple, Protocol

import anyio
import httpx2
from httpcore2 import NetworkError, ProtocolError, TimeoutException
from httpx2.websockets import (
    AsyncWebSocketSession,
    HTTPXWSException,
    WebSocketDisconnect,
    WebSocketUpgradeError,
)
from pondsocket_common import (
    CONNECTION_ID_HEADER,
    EVENT_STREAM,
    POND,
    InvalidMessage,
    Ping,
    SSEDecoder,
    load_json,
)
from wsproto.events import CloseConnection, Message
from wsproto.utilities import ProtocolError as WebSocketProtocolError

from pondsocket_asgi.client._machine.errors import Ended, Refused
from pondsocket_asgi.client._machine.values import Outgoing, TransportName

# What the server takes from a client in one frame, and more than it gathers in one.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
# A peer that is gone takes no close frame; nor should the program's end wait for a DELETE.
CLOSE_SECONDS: Final = 1.0
MAX_REFUSAL_BYTES: Final = 16 * 1024

_BROKEN: Final = (
    *(httpx2.HTTPError, httpx2.StreamError, HTTPXWSException),
    *(NetworkError, ProtocolError, TimeoutException, WebSocketProtocolError),
    *(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError),
)


@dataclass(frozen=True)
class Target:
    """Where to connect, and as which user.

    Args:
        token: The bearer token; it goes into a header, never into the address.
    """

    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)


class Received(NamedTuple):
    """A message as text.

    Args:
        retry_ms: The `retry:` of its block, on an event stream.
    """

    text: str
    retry_ms: int | None = None


class Link(Protocol):
    """One open connection."""

    async def receive(self) -> list[Received]:
        """Return what has come; an empty list is a sign of life.

        Raises:
            Ended: Nothing more comes.
        """
        ...

    async def send(self, texts: Sequence[bytes]) -> None:
        """Send encoded messages in order.

        Raises:
            Refused: The server did not take them; the connection is still open.
            Ended: The connection has ended.
        """
        ...


class Transports(Protocol):
    """What opens connections; tests have their own."""

    def open(self, name: TransportName, target: Target) -> AbstractAsyncContextManager[Link]:
        """Open a connection.

        Raises:
            Ended: It did not open.
        """
        ...


class HttpTransports:
    """Both transports, over one `httpx2.AsyncClient`."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    def open(self, name: TransportName, target: Target) -> AbstractAsyncContextManager[Link]:
        """Open a connection."""
        return (
            _websocket(self._http, target) if name == "websocket" else _stream(self._http, target)
        )


class WebSocketLink:
    """An open WebSocket."""

    def __init__(self, session: AsyncWebSocketSession) -> None:
        self._session = session

    async def receive(self) -> list[Received]:
        """Return the text of the next frame."""
        try:
            event = await self._session.receive()
        except WebSocketDisconnect as exc:
            raise Ended(exc.code, exc.reason or "") from exc
        except _BROKEN as exc:
            raise _broken(exc) from exc
        match event:
            case CloseConnection(code=code, reason=reason):
                raise Ended(code, reason or "")
            case Message(data=data):
                text = data if isinstance(data, str) else bytes(data).decode(errors="replace")
                return [Received(text)]
            case _:
                return []

    async def send(self, texts: Sequence[bytes]) -> None:
        """Send a frame for each."""
        try:
            for text in texts:
                await self._session.send_text(text.decode())
        except _BROKEN as exc:
            raise _broken(exc) from exc


@asynccontextmanager
async def _websocket(http: httpx2.AsyncClient, target: Target) -> AsyncIterator[Link]:
    offered = ["pond"]
    if target.token is not None:
        encoded = urlsafe_b64encode(target.token.encode()).decode().rstrip("=")
        offered.append(f"base64url.bearer.{encoded}")
    # Not `http.websocket`: it has closed the answer to a refusal before that can be read.
    opening = http.stream(
        "GET",
        target.url,
        params=target.params,
        headers={
            **target.headers,
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": b64encode(urandom(16)).decode(),
            "sec-websocket-version": "13",
            # No blank: httpx2's transport in memory would leave it in front of the name.
            "sec-websocket-protocol": ",".join(offered),
        },
        timeout=None,
    )
    try:
        async with opening as response:
            if response.status_code != 101:
                raise await _refusal(response)
            async with _session(response) as session:
                try:
                    yield WebSocketLink(session)
                finally:
                    # First here: httpx2 closes without a limit, and shielded.
                    with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                        await _closed(session)
    except WebSocketUpgradeError as exc:
        raise await _refusal(exc.response) from exc
    except WebSocketDisconnect as exc:  # an app in memory, which cannot answer with HTTP
        # 4000 + the status, from this server; for any other a server would answer 403.
        status = exc.code - 4000 if 4400 <= exc.code < 4600 else 403
        raise Refused(status, exc.reason or "") from exc
    except _BROKEN as exc:
        raise _broken(exc) from exc
    except ExceptionGroup as group:  # httpx2's own tasks
        broken, others = group.split(_BROKEN)
        if others is not None or broken is None:
            raise
        raise Ended(0, str(broken.exceptions[0])) from group


def _session(response: httpx2.Response) -> AsyncWebSocketSession:
    # The server's heartbeat shows that it lives, and so do the pings of `Connection`.
    return AsyncWebSocketSession(
        response.extensions["network_stream"],
        max_message_size_bytes=MAX_MESSAGE_BYTES,
        keepalive_ping_interval_seconds=None,
        response=response,
    )


async def _closed(session: AsyncWebSocketSession) -> None:
    try:
        await session.close(1000)
    except _BROKEN:
        pass  # it has ended


class StreamLink:
    """An open event stream, and its POSTs."""

    def __init__(self, http: httpx2.AsyncClient, target: Target, response: httpx2.Response) -> None:
        self._http = http
        self._target = target
        self._connection_id = response.headers.get(CONNECTION_ID_HEADER, "")
        self._chunks = response.aiter_bytes()
        self._decoder = SSEDecoder(max_chars=MAX_MESSAGE_BYTES)

    async def receive(self) -> list[Received]:
        """Return the messages that the next bytes complete: none if they are a comment."""
        try:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                raise Ended(0, "the stream has ended")
            return [Received(each.data, each.retry) for each in self._decoder.feed(chunk)]
        except InvalidMessage as exc:
            raise Ended(0, str(exc)) from exc
        except _BROKEN as exc:
            raise _broken(exc) from exc

    async def send(self, texts: Sequence[bytes]) -> None:
        """Send one POST, and wait until the server has taken it: that keeps their order."""
        body = texts[0] if len(texts) == 1 else b"[%b]" % b",".join(texts)
        response = await self._request("POST", body)
        if response.status_code != 204:
            raise of_refused_post(await _refusal(response))

    async def close(self) -> None:
        """Tell the server that the stream is not needed any more."""
        if self._connection_id:
            await self._request("DELETE")

    async def end_reading(self) -> None:
        """End the generators that httpx2 reads with: it closes none that was left half-way.

        A cancellation passes through all of them; `aclose` would end the outermost one alone.
        """
        with anyio.CancelScope(shield=True) as scope:
            scope.cancel()
            try:
                async for _ in self._chunks:
                    pass
            except _BROKEN:
                pass  # it has ended

    async def _request(self, method: str, body: bytes | None = None) -> httpx2.Response:
        headers = {
            **_authorized(self._target),
            CONNECTION_ID_HEADER: self._connection_id,
            **({} if body is None else {"content-type": "application/json"}),
        }
        try:
            return await self._http.request(
                method,
                self._target.url,
                params=self._target.params,
                headers=headers,
                content=body,
                timeout=None,
            )
        except _BROKEN as exc:
            raise _broken(exc) from exc


# 404 of a POST: the stream has ended on the server, which says nothing more on it.
_STREAM_IS_GONE: Final = (401, 403, 404, 503)


def of_refused_post(refusal: Refused) -> Ended:
    """Return what the refusal of a POST means: for these messages, or for the connection."""
    return Ended(0, refusal.reason) if refusal.code in _STREAM_IS_GONE else refusal


@asynccontextmanager
async def _stream(http: httpx2.AsyncClient, target: Target) -> AsyncIterator[Link]:
    opening = http.stream(
        "GET",
        target.url,
        params=target.params,
        headers={**_authorized(target), "accept": EVENT_STREAM, "cache-control": "no-store"},
        timeout=None,
    )
    try:
        async with opening as response:
            if response.status_code != 200:
                raise await _refusal(response)
            if response.headers.get("content-type", "").partition(";")[0] != EVENT_STREAM:
                raise Ended(0, "the answer is no event stream")
            link = StreamLink(http, target, response)
            try:
                yield link
            finally:
                with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                    try:
                        await link.close()
                    except Ended:
                        pass  # it has ended
                await link.end_reading()
    except _BROKEN as exc:
        raise _broken(exc) from exc


def _authorized(target: Target) -> dict[str, str]:
    if target.token is None:
        return dict(target.headers)
    return {**target.headers, "authorization": f"Bearer {target.token}"}


def encoded(message: Outgoing) -> bytes:
    """Return the text of a message."""
    if isinstance(message, Ping):
        named = "" if message.request_id is None else f',"requestId":"{message.request_id}"'
        return f'{{"action":"ping"{named}}}'.encode()
    return POND.encode_client(message)


async def _refusal(response: httpx2.Response) -> Refused:
    body = b""
    try:
        with anyio.move_on_after(CLOSE_SECONDS):
            body = await response.aread()
    except _BROKEN:
        pass  # the status says enough
    error, message = _said(body[:MAX_REFUSAL_BYTES])
    after = response.headers.get("retry-after", "")
    return Refused(
        response.status_code,
        message or f"the server answered {response.status_code}",
        error,
        float(after) if after.isascii() and after.isdigit() else None,
    )


def _said(body: bytes) -> tuple[str, str]:
    """Return the error and the message of a server's refusal; two empty texts if it is none."""
    try:
        answer: Any = load_json(body)
    except InvalidMessage:
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    error, message = answer.get("error"), answer.get("message")
    return (
        error if isinstance(error, str) else "",
        message if isinstance(message, str) else "",
    )


def _broken(error: Exception) -> Ended:
    return Ended(0, str(error) or type(error).__name__)
